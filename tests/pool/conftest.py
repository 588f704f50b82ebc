"""Pools of real worker processes with fake engines."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling import in_flight, scheduler
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.workers.local import local_pool
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.fakes import FakeOptions
from tests.pool.gates import Gate
from tests.pool.jobs import job

StartPool = Callable[..., Awaitable[WorkerPool]]
MakeGate = Callable[[], Gate]
MakeEntry = Callable[..., QueueEntry]
PassTime = Callable[[WorkerPool, float], None]


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

        async def start(**changes: Any) -> WorkerPool:
            changed = replace(settings, **changes)
            pool = await stack.enter_async_context(local_pool(changed))
            await all_alive(pool)
            return pool

        yield start


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[MakeGate]:
    """Gates that are closed after the test."""
    with ExitStack() as stack:
        count = iter(range(1000))
        yield lambda: stack.enter_context(Gate(tmp_path / f"gate{next(count)}"))


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> PassTime:
    """Lets so many seconds pass for what limits the work in flight; else none pass, however slow the machine is."""
    now = 1000.0
    for module in (scheduler, in_flight):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))

    def passes(pool: WorkerPool, seconds: float) -> None:
        nonlocal now
        now += seconds
        for worker in pool._workers:
            worker._look()

    return passes


@pytest_asyncio.fixture
async def make_entry() -> MakeEntry:
    """Entries of jobs, numbered."""
    ids = itertools.count(1)
    loop = asyncio.get_running_loop()

    def make(due: float = 100.0, deaths: int = 0, **fields: Any) -> QueueEntry:
        return QueueEntry(next(ids), job(**fields), due, loop.create_future(), deaths)

    return make


async def restarted(pool: WorkerPool, times: int) -> None:
    """Wait until workers have been started again so many times, and take work."""
    alive = -1
    while sum(worker.restarts for worker in pool.status().workers) < times:
        alive = await pool.alive_change(alive)
    await all_alive(pool)


async def all_alive(pool: WorkerPool) -> None:
    """Wait until every worker takes work."""
    alive = 0
    while alive < len(pool.status().workers):
        alive = await pool.alive_change(alive)


def kill(pool: WorkerPool, worker: int = 0, number: int = signal.SIGKILL) -> None:
    """Sends a signal to the process of a worker, which must have one."""
    pid = pool.status().workers[worker].pid
    assert pid is not None
    os.kill(pid, number)


def parent_of(pool: WorkerPool, worker: int = 0) -> int:
    """The number of the process that has started or forked a worker."""
    pid = pool.status().workers[worker].pid
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
