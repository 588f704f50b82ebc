"""The set of workers changes while the pool runs: with workers that are no processes, and with real ones."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from featsvc.errors import KilledWorkers, TookTooLong, Unavailable
from featsvc.pool.contract.messages import Boot, RunBatch, WorkerCaches, WorkerGpu, WorkerModels
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.contract.worker import Events
from featsvc.pool.scheduling.deaths import DEFECT
from featsvc.pool.scheduling.queue import Queue
from featsvc.pool.workers.pool import WorkerPool
from featsvc.pool.workers.record import Record
from tests.pool.conftest import MakeGate, StartPool, all_alive
from tests.pool.fake_workers import FakeSpawn, FakeWorker
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit, submitted
from tests.pool.workers.conftest import SETTINGS


def sent_to(spawn: FakeSpawn, number: int) -> RunBatch:
    (batch,) = (message for message in spawn.started[number].sent if isinstance(message, RunBatch))
    return batch


async def test_the_pool_runs_on_whatever_it_can_spawn(pool: WorkerPool, spawn: FakeSpawn) -> None:
    tasks = await submitted(pool, job("a", deadline_s=60), job("b"))
    assert [worker.device for worker in pool.status().workers] == ["one", "two"]
    (first,), (second,) = (sent_to(spawn, number).items for number in (0, 1))
    assert first.left_s is not None
    assert 0 < first.left_s <= 60, "seconds, for clocks differ from machine to machine"
    assert second.left_s is None
    await spawn.started[0].answer("answer a")
    await spawn.started[1].answer("answer b")
    assert await asyncio.gather(*tasks) == ["answer a", "answer b"]


async def test_eight_workers_share_what_waits_for_one_service(spawn: FakeSpawn) -> None:
    settings = replace(
        SETTINGS, devices=tuple(f"cuda:{each}" for each in range(8)), slots=2, max_batch_items=8
    )
    async with WorkerPool(settings, spawn) as pool:
        tasks = await submitted(pool, *(job(number) for number in range(200)))
        await all_alive(pool)
        workers = list(spawn.started.values())
        assert [worker.batches.qsize() for worker in workers] == [2] * 8, "one to compute, one to prepare"
        assert pool.status().queued_count == 200 - 8 * 2 * 8
        while not all(task.done() for task in tasks):
            busy = [worker for worker in workers if not worker.batches.empty()]
            await asyncio.gather(*(worker.answer("done") for worker in busy))
            await asyncio.sleep(0)  # their callers hear of it
            assert not pool.status().queued_count or len(busy) == 8
        assert min(each.items for each in pool.status().workers) >= 2 * 8


async def test_a_worker_that_is_added_takes_work_that_waits(pool: WorkerPool, spawn: FakeSpawn) -> None:
    tasks = await submitted(pool, *(job(number) for number in range(3)))
    added = pool.add_worker("three")
    assert await pool.alive_change(2) == 3
    await spawn.started[added].answer("by the third")
    assert await tasks[2] == "by the third"
    assert [worker.device for worker in pool.status().workers] == ["one", "two", "three"]
    for number in (0, 1):
        await spawn.started[number].answer("")


async def test_a_worker_that_is_removed_completes_what_it_has_and_gets_nothing_more(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    tasks = await submitted(pool, *(job(number) for number in range(3)))
    removal = asyncio.create_task(pool.remove_worker(0, grace_s=60))
    await asyncio.sleep(0)
    await spawn.started[0].answer("completed")
    assert await tasks[0] == "completed"
    await removal
    assert spawn.started[0].batches.empty()
    assert [worker.id for worker in pool.status().workers] == [1]
    for task in tasks[1:]:
        await spawn.started[1].answer("by the other")
        assert await task == "by the other"


async def test_what_a_removed_worker_does_not_complete_in_time_is_done_by_others(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    tasks = await submitted(pool, job("a"), job("b"))
    await pool.remove_worker(0, grace_s=0)
    await spawn.started[1].answer("b")
    await spawn.started[1].answer("a, later")
    assert await asyncio.gather(*tasks) == ["a, later", "b"]
    with pytest.raises(KeyError):
        await pool.remove_worker(0, grace_s=0)


async def test_a_removed_worker_that_dies_meanwhile_is_not_started_again(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    held = (await submitted(pool, job("a")))[0]
    worker = spawn.started[0]
    removal = asyncio.create_task(pool.remove_worker(0, grace_s=60))
    await asyncio.sleep(0)
    worker.kill()
    await removal
    await spawn.started[1].answer("by the other")
    assert await held == "by the other"
    assert spawn.started[0] is worker, "it was not started again"


async def test_jobs_wait_for_a_picture_of_a_removed_worker_no_longer(
    pool: WorkerPool, spawn: FakeSpawn
) -> None:
    first = (await submitted(pool, job("a", affinity="picture")))[0]
    await spawn.started[0].answer("a")
    await first
    other = (await submitted(pool, job("other", affinity="elsewhere")))[0]
    again = (await submitted(pool, job("again", affinity="picture")))[0]
    await pool.remove_worker(0, grace_s=0)
    while not (again.done() and other.done()):
        if spawn.started[1].batches:
            await spawn.started[1].answer("done")
        await asyncio.sleep(0)


async def test_the_last_worker_may_go_and_another_come(pool: WorkerPool, spawn: FakeSpawn) -> None:
    await asyncio.gather(*(pool.remove_worker(number, grace_s=0) for number in (0, 1)))
    assert await pool.alive_change(2) == 0
    with pytest.raises(Unavailable, match="no worker"):
        await pool.run(job("nobody"))
    added = pool.add_worker("new")
    await pool.alive_change(0)
    task = (await submitted(pool, job("a")))[0]
    await spawn.started[added].answer("a")
    assert await task == "a"


async def test_a_worker_that_cannot_work_here_is_started_once_and_the_others_work() -> None:
    spawn = FakeSpawn(missing=("two",))
    async with WorkerPool(SETTINGS, spawn) as pool:
        hopeless = asyncio.create_task(pool.cannot_work())
        await pool.alive_change(0)
        for value in range(3):
            (task,) = await submitted(pool, job(value))
            await spawn.started[0].answer(value)
            assert await task == value
        second = pool.status().workers[1]
        assert (second.state, second.restarts) == (WorkerState.FAILED, 0)
        assert not hopeless.done()
        hopeless.cancel()


async def test_where_no_worker_can_work_the_reason_is_told() -> None:
    async with WorkerPool(SETTINGS, FakeSpawn(missing=("one", "two"))) as pool:
        assert (await pool.cannot_work()).message == "two is not there"
        with pytest.raises(Unavailable, match="no worker can start"):
            await pool.run(job())
        assert [each.restarts for each in pool.status().workers] == [0, 0]


class BetterNextTime(FakeSpawn):
    """Only the first process is refused, as on one bad machine of several."""

    def __call__(self, boot: Boot, events: Events) -> FakeWorker:
        worker = super().__call__(boot, events)
        self.missing = ()
        return worker


async def test_where_the_next_process_may_move_no_refusal_is_the_last_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = replace(SETTINGS, devices=("one",), may_move=True)
    async with WorkerPool(settings, BetterNextTime(missing=("one",))) as pool:
        hopeless = asyncio.create_task(pool.cannot_work())
        await pool.alive_change(0)
        assert pool.status().workers[0].restarts == 1
        assert not hopeless.done()
        hopeless.cancel()
    assert "one is not there" in caplog.text


async def test_deaths_are_counted_over_all_workers(pool: WorkerPool, spawn: FakeSpawn) -> None:
    deadly = (await submitted(pool, job("deadly")))[0]
    first, second = spawn.started[0], spawn.started[1]
    await first.batches.get()
    first.kill()
    await second.batches.get()
    second.kill()
    with pytest.raises(KilledWorkers):
        await deadly


async def test_a_load_that_does_not_end_is_no_mark_against_what_else_is_in_flight(spawn: FakeSpawn) -> None:
    async with WorkerPool(replace(SETTINGS, devices=("one",), load_timeout_s=0.05), spawn) as pool:
        await all_alive(pool)
        task = (await submitted(pool, job("a")))[0]
        for _ in range(3):
            with pytest.raises(TookTooLong):
                await pool.load("endless")
            await pool.alive_change(1)
            await all_alive(pool)
        await spawn.started[0].answer("a")
        assert await task == "a"


async def test_a_defect_in_the_middle_of_a_death_leaves_nobody_waiting(
    spawn: FakeSpawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WorkerPool(replace(SETTINGS, devices=("one",), slots=3), spawn) as pool:
        await all_alive(pool)
        tasks = await submitted(pool, *(job(number) for number in range(3)))

        def defective(*_: object) -> None:
            raise LookupError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(Queue, "add", defective)
            spawn.started[0].kill()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == [DEFECT] * 3


async def test_a_removal_that_is_given_up_still_ends_the_worker(pool: WorkerPool, spawn: FakeSpawn) -> None:
    held = (await submitted(pool, job("a")))[0]
    removal = asyncio.create_task(pool.remove_worker(0, grace_s=3600))
    await asyncio.sleep(0)
    removal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removal
    assert [worker.id for worker in pool.status().workers] == [1]
    await spawn.started[1].answer("by the other")
    assert await held == "by the other"


async def test_a_gpu_is_told_of_also_while_nothing_is_asked(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, note = asyncio.Queue[int | None](), Record.note

    def noted(self: Record, message: WorkerModels | WorkerCaches | WorkerGpu) -> None:
        note(self, message)
        if isinstance(message, WorkerGpu):
            told.put_nowait(message.gpu.utilization_percent)

    monkeypatch.setattr(Record, "note", noted)
    pool = await start_pool(devices=("cuda:0",))
    used = [await told.get() for _ in range(2)]
    assert used[0] != used[1]
    (worker,) = pool.status().workers
    assert worker.gpu is not None
    assert worker.gpu.utilization_percent == used[1]


async def test_real_processes_come_and_go_under_load(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(devices=("cpu",), slots=1), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))[0]
    await gate.reached()
    waiting = await submitted(pool, *(job(number) for number in range(20)))
    added = pool.add_worker("cpu")
    assert [result.value for result in await asyncio.gather(*waiting)] == list(range(20))
    removal = asyncio.create_task(pool.remove_worker(0, grace_s=60))
    gate.let_through()
    assert (await held).value == "held"
    await removal
    assert [worker.id for worker in pool.status().workers] == [added]
    assert (await pool.run(job("after"))).pid == pool.status().workers[0].pid
