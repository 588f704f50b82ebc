"""What tests of every folder share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import KEY, KEY_OF_OTHERS, Server, running
from tests.shares import order, share


def pytest_configure() -> None:
    """Who starts the tests in the background has Ctrl-C ignored, by all processes that they start too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes each sends its tests in the order in which they are to be shared out."""
    if hasattr(config, "workerinput"):
        items[:] = [items[at] for at in order([item.nodeid for item in items])]


# Without pytest-xdist there is no such hook, and one process.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By shares, where the tests of a file are to stay together."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByShares(LoadFileScheduling):  # type: ignore[misc]  # untyped where it is not installed
        def _split_scope(self, nodeid: str) -> str:
            return share(nodeid)

    # As the tests come: `order` has taken care of that.
    config.option.loadscopereorder = False
    return ByShares(config, log)


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`featsvc up --profile demo` on free ports, with one CPU worker and no downloads, for the whole session.

    Its worker has one thread: two take a third more of the processors, which other tests want meanwhile.
    """
    log: Path = tmp_path_factory.mktemp("demo_server") / "log"
    flags = ("--profile=demo", "--devices=cpu", "--threads=1", "--offline")
    more = ("--url-allow=127.0.0.1", "--metrics-port=0")
    with running(log, "up", *flags, *more, key=f"{KEY},{KEY_OF_OTHERS}") as server:
        yield server
