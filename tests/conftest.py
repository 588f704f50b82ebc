"""What tests of every folder share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import KEY, KEY_OF_OTHERS, Server, running


def pytest_configure() -> None:
    """Who starts the tests in the background has Ctrl-C ignored, by all processes that they start too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`featsvc up --profile demo` on free ports, with one CPU worker and no downloads, for the whole session."""
    log: Path = tmp_path_factory.mktemp("demo_server") / "log"
    flags = ("--profile=demo", "--devices=cpu", "--offline", "--url-allow=127.0.0.1", "--metrics-port=0")
    with running(log, "up", *flags, key=f"{KEY},{KEY_OF_OTHERS}") as server:
        yield server
