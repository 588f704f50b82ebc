"""What tests of every folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, running


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`featsvc up --profile demo` on free ports, with one CPU worker, for the whole session."""
    log: Path = tmp_path_factory.mktemp("demo_server") / "log"
    with running(log, "up", "--profile=demo", "--devices=cpu", "--url-allow=127.0.0.1") as server:
        yield server
