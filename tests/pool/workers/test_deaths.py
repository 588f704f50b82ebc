"""Workers that die, hang or cannot start, and what becomes of the work in flight."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from featsvc.errors import KilledWorkers, NoDevice, TookTooLong, Unavailable
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.workers.local import local_pool
from featsvc.pool.workers.process import WorkerProcess
from tests.pool.conftest import Journal, MakeGate, PassTime, StartPool, all_alive, kill, restarted
from tests.pool.fakes import FakeItem, FakeOptions
from tests.pool.jobs import job, submit, submitted


def value_of(result: Any) -> object:
    assert not isinstance(result, BaseException), result
    return result.value


async def test_kill_nine_under_32_concurrent_jobs_fails_none_of_them(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    others = await submitted(pool, *(job(number) for number in range(31)))
    kill(pool)
    await gate.reached()  # in the new worker
    gate.let_through()
    results = await asyncio.gather(*held, *others)
    assert [value_of(result) for result in results] == ["held", *range(31)]
    await all_alive(pool)
    worker = pool.status().workers[0]
    assert (worker.state, worker.restarts) == (WorkerState.READY, 1)
    assert (await pool.run(job("after"))).value == "after"


async def test_the_other_worker_goes_on_when_one_is_killed(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(devices=("cpu", "cpu")), make_gate()
    held = submit(pool, job("held", item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    busy = next(worker for worker in pool.status().workers if worker.state is WorkerState.BUSY)
    kill(pool, busy.id)
    await gate.reached()
    gate.let_through()
    assert (await held[0]).pid != busy.pid


@pytest.mark.parametrize(
    ("does", "stage"), [("die", "prepare"), ("die", "run"), ("exit", "run"), ("lose", "run")]
)
async def test_a_poison_item_is_refused_and_its_31_neighbours_succeed(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal, does: str, stage: str
) -> None:
    pool, gate = await start_pool(slots=1, max_batch_items=32), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    poison = FakeItem("poison", does, stage)
    tasks = await submitted(
        pool, *(job(item=poison if number == 13 else FakeItem(number)) for number in range(32))
    )
    gate.let_through()
    results = await asyncio.gather(*held, *tasks, return_exceptions=True)
    refusal = results.pop(14)
    assert isinstance(refusal, KilledWorkers)
    assert "two workers died" in refusal.message
    assert [value_of(result) for result in results] == ["held", *range(13), *range(14, 32)]
    await all_alive(pool)
    assert pool.status().workers[0].restarts == 2
    counts = Counter(journal.lines())
    assert counts["prepare poison"] == 2


async def test_a_suspect_of_a_second_death_is_not_retried_beside_others(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    suspects = submit(pool, *(job(number, item=FakeItem(number, gate=str(gate))) for number in range(2)))
    await gate.reached()
    kill(pool)
    await gate.reached()
    fresh = await submitted(pool, *(job(number) for number in range(10)))
    assert pool.status().queued_count == 11, "the other suspect, and all that came later"
    gate.let_through(2)
    results = await asyncio.gather(*suspects)
    assert [result.batch_size for result in results] == [1, 1]
    await asyncio.gather(*fresh)


async def test_a_job_whose_caller_left_is_not_retried(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(), make_gate()
    task = submit(pool, job(item=FakeItem("left", gate=str(gate))))[0]
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    kill(pool)
    await pool.alive_change(1)
    await all_alive(pool)
    await pool.run(job("after"))
    assert journal.text().count("run left") == 1


async def test_a_hung_worker_is_killed_and_its_neighbours_are_answered(
    start_pool: StartPool, make_gate: MakeGate, pass_time: PassTime
) -> None:
    pool, gate = await start_pool(), make_gate()
    await pool.run(job("first"))  # the model is there
    hung = submit(pool, job(item=FakeItem("hung", gate=str(gate))))[0]
    await gate.reached()
    other = (await submitted(pool, job("other")))[0]
    pass_time(pool, 300)
    assert (await other).value == "other"
    with pytest.raises(TookTooLong, match=r"at work for 300 s.*--batch-timeout"):
        await hung
    # The refusal comes before the end of the killed process is noticed.
    await restarted(pool, 1)
    assert pool.status().workers[0].restarts == 1, "it is not tried on a second worker"


async def test_of_a_batch_that_takes_too_long_only_the_item_that_does_is_refused(
    start_pool: StartPool, make_gate: MakeGate, pass_time: PassTime
) -> None:
    pool, gate, hanging = await start_pool(slots=1), make_gate(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    tasks = await submitted(pool, job(1), job(item=FakeItem("hung", gate=str(hanging))), job(2))
    gate.let_through()
    for seconds in (3 * 300, 300):  # in a batch of three, and by itself
        await hanging.reached()
        pass_time(pool, seconds)
    results = await asyncio.gather(*held, *tasks, return_exceptions=True)
    assert isinstance(results.pop(2), TookTooLong)
    assert [value_of(result) for result in results] == ["held", 1, 2]


async def test_what_has_cost_two_workers_costs_no_more_when_it_is_asked_again(start_pool: StartPool) -> None:
    pool = await start_pool()
    deadly = job(item=FakeItem("poison", "die"), question=("a picture",))
    with pytest.raises(KilledWorkers):
        await pool.run(deadly)
    await all_alive(pool)
    with pytest.raises(KilledWorkers, match="two workers died"):
        await pool.run(job(item=FakeItem("poison", "die"), question=("a picture",)))
    assert pool.status().workers[0].restarts == 2
    assert (await pool.run(job("other", question=("another",)))).value == "other"
    assert (await pool.run(job("of other params", question=("a picture",), model="n"))).value


async def test_who_waits_with_the_same_question_is_refused_with_the_first(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1, max_batch_items=1), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    deadly = await submitted(
        pool, *(job(item=FakeItem("poison", "die"), question=("a picture",)) for _ in range(5))
    )
    gate.let_through()
    results = await asyncio.gather(*held, *deadly, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [KilledWorkers] * 5
    await all_alive(pool)
    assert pool.status().workers[0].restarts == 2


async def test_a_hung_batch_is_noticed_although_others_come_and_go(start_pool: StartPool) -> None:
    pool = await start_pool(batch_timeout_s=1.0)
    hung = submit(pool, job(does="hang"))[0]
    while not pool.status().workers[0].restarts:
        # Answered in the preparation, behind the batch that hangs.
        bad = submit(pool, job(item=FakeItem(does="refuse", stage="prepare")))[0]
        await asyncio.wait([hung, bad], return_when=asyncio.FIRST_COMPLETED)
        bad.cancel()
    hung.cancel()


async def test_a_slow_load_is_not_a_hang(
    start_pool: StartPool, make_gate: MakeGate, pass_time: PassTime
) -> None:
    pool, loading, working = await start_pool(), make_gate(), make_gate()
    item = FakeItem("loaded", gate=str(working))
    loaded = submit(pool, job(item=item, model=f"gated:{loading}"))[0]
    for gate in (loading, working):
        await gate.reached()
        while (
            gate is working and not pool.status().workers[0].models
        ):  # the pool is to hear that it was loaded
            await asyncio.wait([loaded], timeout=0.01)
        pass_time(pool, 299 if gate is working else 1799)
        gate.let_through()
    assert (await loaded).value == "loaded"
    assert pool.status().workers[0].restarts == 0


async def test_a_batch_that_goes_on_answering_has_not_hung(
    start_pool: StartPool, make_gate: MakeGate, pass_time: PassTime
) -> None:
    pool, gate = await start_pool(max_batch_pixels=1), make_gate()
    await pool.run(job("first"))  # the model is there
    tasks = submit(pool, *(job(item=FakeItem(number, gate=str(gate))) for number in range(6)))
    for number, task in enumerate(tasks):
        await gate.reached()
        pass_time(pool, 299)
        gate.let_through()
        assert (await task).value == number
    assert pool.status().workers[0].restarts == 0


async def test_a_death_breaks_off_a_model_load_that_was_asked_for(start_pool: StartPool) -> None:
    pool = await start_pool()
    with pytest.raises(Unavailable, match="died"):
        await pool.load("die")
    await all_alive(pool)


@pytest.mark.parametrize("when", ["preload", "load", "request"])
async def test_a_device_that_is_lost_while_a_model_loads_costs_its_worker_and_nobody_a_request(
    start_pool: StartPool, tmp_path: Path, when: str
) -> None:
    model = f"lost once:{tmp_path / 'mark'}"
    pool = await start_pool(preload=(model,) if when == "preload" else ())
    if when == "load":
        with pytest.raises(Unavailable, match="died"):
            await pool.load(model)
    assert (await pool.run(job("answered", model=model))).value == "answered"
    (worker,) = pool.status().workers
    assert worker.restarts == 1
    assert [each.name for each in worker.models] == [model]


async def test_jobs_do_not_wait_for_a_worker_that_cannot_start_and_it_comes_back_when_it_can(
    settings: PoolSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mended = tmp_path / "mended"
    options = FakeOptions(fails_until=str(mended))
    changed = replace(settings, engine_options=options, max_failed_starts=2, max_restart_delay_s=0.05)
    async with local_pool(changed) as pool:
        waiting = submit(pool, job())
        with pytest.raises(Unavailable, match="no worker can start"):
            await waiting[0]
        assert pool.status().workers[0].state is WorkerState.FAILED
        with pytest.raises(Unavailable, match="no worker can start"):
            await pool.run(job())
        assert "worker cannot start" in caplog.text
        mended.touch()
        await all_alive(pool)
        assert (await pool.run(job("again"))).value == "again"


async def test_a_start_that_fails_for_want_of_threads_or_memory_is_tried_again(
    settings: PoolSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("can't start new thread"), MemoryError(), OSError(errno.EMFILE, "none left")]
    real = WorkerProcess.__init__

    def scarce(*arguments: object, **more: object) -> None:
        if failures:
            raise failures.pop()
        real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkerProcess, "__init__", scarce)
    async with local_pool(settings) as pool:
        await all_alive(pool)
        assert (await pool.run(job("there"))).value == "there"
        assert pool.status().workers[0].restarts == 3


async def test_a_worker_that_will_never_work_here_is_told_once(
    settings: PoolSettings, caplog: pytest.LogCaptureFixture
) -> None:
    changed = replace(settings, engine_options=FakeOptions(device_is_there=False))
    async with local_pool(changed) as pool:
        error = await pool.cannot_work()
    assert isinstance(error, NoDevice)
    assert "devices: cpu is not on this machine" in error.message
    assert "died" not in caplog.text


async def test_watchers_hear_of_deaths_and_returns(start_pool: StartPool) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    kill(pool, 1)
    assert await pool.alive_change(2) == 1
    assert await pool.alive_change(1) == 2
