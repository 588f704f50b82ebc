"""Some of the attacks, in short: memory stays bounded, every process lives, and others are answered afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.attacks import all_attacked, attackable, every_attack

SHORT = (
    "grpc.wrong_key", "grpc.endless_health_checks", "grpc.pings", "rest.endless_headers", "grpc.stalled",
    "grpc.wrong_items",
)  # fmt: skip
LATER_S = 3.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_attack_takes_much_memory_or_ends_a_process(tmp_path: Path) -> None:
    every = every_attack()
    with attackable(tmp_path / "server.log") as server:
        reports = asyncio.run(all_attacked(server, {name: every[name] for name in SHORT}, LATER_S))
    # How slow others were depends on what else the machine does; the script tells it.
    assert [report.line() for report in reports if not report.is_bounded] == []
