"""Workers that are of no use any more and have not ended yet: their work goes to others at once, and the next waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from featsvc.pool.contract.messages import Boot, Outcome
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.contract.worker import Events
from featsvc.pool.workers import handle
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import all_alive
from tests.pool.fake_workers import FakeSpawn, FakeWorker
from tests.pool.jobs import job, submitted
from tests.pool.workers.conftest import SETTINGS


async def test_a_worker_that_cannot_be_killed_holds_up_nobody_and_is_replaced_when_it_has_ended(
    pool: WorkerPool, spawn: FakeSpawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "KILL_TIMEOUT_S", 0.0)
    stuck = spawn.started[0]
    stuck.is_stuck = True
    (task,) = await submitted(pool, job("a"))
    batch = await stuck.batches.get()
    pool._workers[0].kill()
    await spawn.started[1].answer("by another")
    stuck.say(Outcome(batch.items[0].id, result="too late"))
    assert await task == "by another"
    first = pool.status().workers[0]
    assert (first.state, first.restarts) == (WorkerState.DEAD, 0)
    assert stuck.events is not None
    stuck.events.on_exit(-9)
    await all_alive(pool)
    assert spawn.started[0] is not stuck


async def test_the_work_of_a_lost_worker_is_done_by_others_and_the_next_starts_when_it_has_ended(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    lost = spawn.started[0]
    (task,) = await submitted(pool, job("a"))
    batch = await lost.batches.get()
    assert lost.events is not None
    lost.events.on_lost()
    lost.say(Outcome(batch.items[0].id, result="too late"))
    await spawn.started[1].answer("by the other")
    assert await task == "by the other"
    (task,) = await submitted(pool, job("b"))
    await spawn.started[1].answer("by the other again")
    assert await task == "by the other again"
    first = pool.status().workers[0]
    assert (first.state, first.restarts) == (WorkerState.DEAD, 0)
    assert spawn.started[0] is lost
    lost.kill()
    await all_alive(pool)
    assert spawn.started[0] is not lost


async def test_nobody_is_blamed_where_a_worker_is_lost_with_its_machine(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    (task,) = await submitted(pool, job("a"))
    for number in (0, 1):
        lost = spawn.started[number]
        await lost.batches.get()
        assert lost.events is not None
        lost.events.on_lost(blameless=True)
        if number == 0:
            lost.kill()
            await all_alive(pool)
    await spawn.started[0].answer("by the third")
    assert await task == "by the third"


async def test_a_lost_worker_may_be_removed_before_it_has_ended(pool: WorkerPool, spawn: FakeSpawn) -> None:
    lost = spawn.started[0]
    assert lost.events is not None
    lost.events.on_lost()
    await pool.remove_worker(0, grace_s=60)
    assert [worker.id for worker in pool.status().workers] == [1]
    assert spawn.started[0] is lost


class StuckNextTime(FakeSpawn):
    """The first process says that it cannot work; the next ones say nothing."""

    def __init__(self) -> None:
        super().__init__(missing=("one",))
        self.stuck = asyncio.Queue[FakeWorker]()

    def __call__(self, boot: Boot, events: Events) -> FakeWorker:
        if not self.started:
            return super().__call__(boot, events)
        worker = FakeWorker(boot=boot, events=events)
        self.stuck.put_nowait(worker)
        return worker


async def test_who_cannot_start_and_is_lost_is_not_given_up_nor_told_of_once_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spawn = StuckNextTime()
    settings = replace(SETTINGS, devices=("one",), may_move=True, max_failed_starts=1)
    async with WorkerPool(settings, spawn) as pool:
        (worker,) = pool._workers
        second = await spawn.stuck.get()
        assert second.events is not None
        second.events.on_lost()
        assert (worker.state, worker.is_given_up) == (WorkerState.FAILED, False), "another start follows"
        second.kill()
        await spawn.stuck.get()
    assert caplog.text.count("worker cannot start") == 1
