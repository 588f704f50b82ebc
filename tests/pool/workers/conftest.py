"""A pool of two workers that are no processes, and engines that tests write for those that are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import all_alive
from tests.pool.fake_workers import FakeSpawn

Engines = Callable[[str], str]
Children = Callable[[], set[int]]
SETTINGS = PoolSettings(
    devices=("one", "two"), slots=1, max_batch_items=1, restart_delay_s=0.0, affinity_s=3600.0
)


@pytest.fixture
def spawn() -> FakeSpawn:
    return FakeSpawn()


@pytest_asyncio.fixture
async def pool(spawn: FakeSpawn) -> AsyncIterator[WorkerPool]:
    async with WorkerPool(SETTINGS, spawn) as pool:
        await all_alive(pool)
        yield pool


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """The import path of engines whose module begins with these lines."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(lines: str) -> str:
        (tmp_path / "engines_of_a_test.py").write_text(f"{lines}\nfrom tests.pool.fakes import build\n")
        return "engines_of_a_test:build"

    return written


def stat(pid: int) -> list[str]:
    """What /proc says of a process, from its name on: name, state, parent, group."""
    raw = Path(f"/proc/{pid}/stat").read_text()
    return [raw[raw.index("(") + 1 : raw.rindex(")")], *raw.rpartition(")")[2].split()]


@pytest.fixture
def children() -> Children:
    """Tells which processes this one has started in this test, even where they have ended and it does not know."""
    before = _children()  # servers of other tests
    return lambda: _children() - before


def _children() -> set[int]:
    found = set[int]()
    for each in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            found.update(map(int, each.read_text().split()))
    return found
