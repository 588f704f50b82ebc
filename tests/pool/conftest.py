"""Pools of real worker processes with fake engines."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from featsvc.pool.local import LocalPool
from featsvc.pool.settings import PoolSettings
from featsvc.pool.waiting import Entry
from tests.pool.fakes import FakeOptions
from tests.pool.gates import Gate
from tests.pool.jobs import job

StartPool = Callable[..., Awaitable[LocalPool]]
MakeGate = Callable[[], Gate]
MakeEntry = Callable[..., Entry]


class Journal:
    """What the fake engines did, one line each, by all processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def __str__(self) -> str:
        return str(self._path)

    def text(self) -> str:
        """All of it."""
        return self._path.read_text()

    def lines(self) -> list[str]:
        """Its lines, such as `run 1,2,3`."""
        return self.text().splitlines()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of this test's engines."""
    return Journal(tmp_path / "journal")


@pytest.fixture
def settings(journal: Journal) -> PoolSettings:
    """One worker with fake engines."""
    return PoolSettings(
        engines="tests.pool.fakes:build",
        engine_options=FakeOptions(str(journal)),
        restart_delay_s=0.01,
        log_level="CRITICAL",
    )


@pytest_asyncio.fixture
async def start_pool(settings: PoolSettings) -> AsyncIterator[StartPool]:
    """Starts pools whose workers are all alive, and ends them after the test."""
    async with AsyncExitStack() as stack:

        async def start(**changes: object) -> LocalPool:
            changed = replace(settings, **changes)
            pool = await stack.enter_async_context(LocalPool(changed))
            await all_alive(pool)
            return pool

        yield start


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[MakeGate]:
    """Gates that are closed after the test."""
    with ExitStack() as stack:
        count = iter(range(1000))
        yield lambda: stack.enter_context(Gate(tmp_path / f"gate{next(count)}"))


@pytest_asyncio.fixture
async def make_entry() -> MakeEntry:
    """Entries of jobs, numbered."""
    ids = itertools.count(1)
    loop = asyncio.get_running_loop()

    def make(due: float = 100.0, deaths: int = 0, **fields: object) -> Entry:
        return Entry(next(ids), job(**fields), due, loop.create_future(), deaths)

    return make


async def all_alive(pool: LocalPool) -> None:
    """Wait until every worker takes work."""
    alive = 0
    while alive < len(pool.status().workers):
        alive = await pool.alive_change(alive)
