"""Workers that do not answer, and defects that nobody must wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from featsvc.errors import FeatsvcError, KilledWorkers
from featsvc.pool.contract.messages import RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.worker import Condition
from featsvc.pool.workers.handle import WorkerHandle
from featsvc.pool.workers.heartbeat import LOOK_S, SILENT_LOOKS, Heartbeat, Pulse, condition
from featsvc.pool.workers.pool import WorkerPool
from featsvc.pool.workers.record import Record
from featsvc.pool.workers.restarts import Restarts
from tests.pool.conftest import MakeGate, StartPool, all_alive, kill
from tests.pool.fake_workers import FakeSpawn, FakeWorker
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit, submitted


def defective(*_: object, **__: object) -> None:
    raise LookupError("a defect")


async def test_a_worker_that_is_stopped_at_work_goes_on_and_loses_nothing(start_pool: StartPool) -> None:
    pool = await start_pool()
    stopped, other = await submitted(pool, job(item=FakeItem("stopped", "stop")), job("other"))
    assert [(await each).value for each in (stopped, other)] == ["stopped", "other"]
    assert pool.status().workers[0].restarts == 0


async def test_a_worker_that_is_stopped_while_it_idles_answers_the_next_job(start_pool: StartPool) -> None:
    pool = await start_pool()
    kill(pool, 0, signal.SIGSTOP)
    assert (await pool.run(job("next"))).value == "next"
    assert pool.status().workers[0].restarts == 0


async def test_a_worker_that_is_stopped_while_nobody_asks_goes_on_by_itself(start_pool: StartPool) -> None:
    pool = await start_pool()
    pid = pool.status().workers[0].pid
    assert pid is not None
    kill(pool, 0, signal.SIGSTOP)
    for is_stopped in (True, False):
        await asyncio.to_thread(await_condition, pid, is_stopped)
    assert (await pool.run(job("next"))).pid == pid
    assert pool.status().workers[0].restarts == 0


def await_condition(pid: int, is_stopped: bool) -> None:
    while (condition(pid) is Condition.STOPPED) is not is_stopped:
        pass


async def test_a_worker_that_hangs_while_nobody_asks_is_replaced(start_pool: StartPool) -> None:
    pool = await start_pool(heartbeat_timeout_s=1.0)
    # It is told to go on again and again, and stopped as often: as one whose interpreter hangs it never answers.
    pid = pool.status().workers[0].pid
    assert pid is not None
    stopping = asyncio.create_task(_kept_stopped(pid))
    await pool.alive_change(1)
    stopping.cancel()
    await all_alive(pool)
    assert pool.status().workers[0].pid != pid


async def _kept_stopped(pid: int) -> None:
    while True:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0)


async def test_a_worker_that_holds_its_interpreter_for_ever_is_replaced(start_pool: StartPool) -> None:
    pool = await start_pool(heartbeat_timeout_s=1.0)
    held = FakeItem("held", "hold the interpreter", seconds=600)
    with pytest.raises(KilledWorkers):
        await pool.run(job(item=held))
    pool._workers[0]._heart._limit_s = 600.0  # for one that is only slow
    assert (await pool.run(job("after"))).value == "after"


async def test_a_silent_worker_gets_no_work_that_another_can_take(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    monkeypatch.setattr(WorkerHandle, "is_silent", property(lambda worker: worker.id == 0))
    results = await asyncio.gather(*submit(pool, *(job(number) for number in range(20))))
    assert {result.pid for result in results} == {pool.status().workers[1].pid}


def test_a_worker_is_silent_only_after_several_looks() -> None:
    asked: list[int] = []
    beat = Pulse(lambda: asked.append(1))
    for _ in range(SILENT_LOOKS):
        beat.look()
    assert (beat.is_silent, len(asked)) == (False, 1)
    beat.look()
    assert beat.is_silent
    beat.heard()
    assert not beat.is_silent
    beat.look()
    assert len(asked) == 2


def test_the_condition_of_a_process_is_read_where_the_system_tells() -> None:
    waiting = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # until it has started it may wait for a disk
        assert condition(process.pid) is Condition.UNKNOWN
        process.send_signal(signal.SIGSTOP)
        while condition(process.pid) is not Condition.STOPPED:
            pass
        process.kill()
    assert condition(process.pid) is Condition.UNKNOWN, "it has gone"


def test_a_worker_whose_memory_was_swapped_out_is_left_its_time() -> None:
    worker = FakeWorker(Condition.AT_DISK)
    heart, looks = Heartbeat(lambda: None, limit_s=10 * LOOK_S), 0

    def look() -> bool:
        return heart.is_lost(worker, is_starting=False, is_awaited=True)

    assert not any(look() for _ in range(100))
    assert heart.is_silent, "others are asked meanwhile"
    worker.found = Condition.UNKNOWN
    while not look():
        looks += 1
    assert looks > 5


async def test_a_defect_in_the_preparation_ends_the_worker_and_not_the_wait(start_pool: StartPool) -> None:
    pool = await start_pool()
    with pytest.raises(KilledWorkers):
        await pool.run(job(item=FakeItem("defect", "leave the interpreter", stage="prepare")))
    assert (await pool.run(job("after"))).value == "after"


async def test_a_defect_in_the_handling_of_a_message_ends_the_worker_and_not_the_wait(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await start_pool()
    real, failures = WorkerPool.on_outcome, [1]

    def defective(self: WorkerPool, worker: WorkerHandle, outcome: object) -> None:
        if failures:
            failures.pop()
            raise LookupError("a defect")
        real(self, worker, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkerPool, "on_outcome", defective)
    assert (await pool.run(job("retried"))).value == "retried"
    assert pool.status().workers[0].restarts == 1
    assert "a defect of the pool" in caplog.text


async def test_a_defect_in_the_handling_of_a_death_refuses_what_was_in_flight(
    start_pool: StartPool, make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()

    with monkeypatch.context() as patch:
        patch.setattr(WorkerPool, "on_death", defective)
        kill(pool)
        with pytest.raises(FeatsvcError, match="a defect of the server"):
            await held[0]
    await all_alive(pool)
    assert (await pool.run(job("after"))).value == "after"


@pytest.mark.parametrize(("owner", "name"), [(Restarts, "after_exit"), (Record, "forget")])
async def test_a_defect_in_what_follows_an_end_leaves_nobody_waiting_and_no_worker_dead(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    spawn = FakeSpawn()
    settings = PoolSettings(devices=("one",), slots=1, restart_delay_s=0.0, max_restart_delay_s=0.0)
    async with asyncio.timeout(30), WorkerPool(settings, spawn) as pool:
        await all_alive(pool)
        (task,) = await submitted(pool, job("held"))
        first = spawn.started[0]
        await first.batches.get()
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, defective)
            first.kill()
            with pytest.raises(FeatsvcError, match="a defect of the server"):
                await task
        await all_alive(pool)
        assert spawn.started[0] is not first
        monkeypatch.setattr(owner, name, defective)  # the end of the pool is an end too


async def test_a_batch_that_cannot_be_handed_over_is_not_left_in_flight(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool()
    real, failures = WorkerHandle.dispatch, [1]

    def defective(self: WorkerHandle, batch: RunBatch, nbytes: int) -> None:
        if failures:
            failures.pop()
            raise LookupError("a defect")
        real(self, batch, nbytes)

    monkeypatch.setattr(WorkerHandle, "dispatch", defective)
    assert (await pool.run(job("retried"))).value == "retried"


async def test_a_timer_that_fails_does_not_leave_a_worker_unwatched(
    start_pool: StartPool, make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, gate = await start_pool(), make_gate()

    monkeypatch.setattr(WorkerHandle, "_look", defective)
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    (worker,) = pool._workers
    worker._set_timer(0, worker._look)
    await pool.alive_change(1)
    monkeypatch.undo()
    await gate.reached()
    gate.let_through()
    assert (await held[0]).value == "held"


async def test_a_load_that_does_not_end_is_ended(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(load_timeout_s=0.3), make_gate()
    with pytest.raises(FeatsvcError, match=r"loading gated:.* took longer than 0.3 s \(--load-timeout\)"):
        await pool.load(f"gated:{gate}")
    await pool.alive_change(1)
    await all_alive(pool)
    assert pool.status().workers[0].restarts == 1
    with pytest.raises(FeatsvcError, match="--load-timeout"):
        await pool.run(job(model=f"gated:{gate}"))
