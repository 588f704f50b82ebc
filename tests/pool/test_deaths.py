"""Workers that die, hang or cannot start, and what becomes of the work on board."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import replace

import pytest

from featsvc.errors import Unavailable
from featsvc.pool.lives import Lives
from featsvc.pool.local import LocalPool
from featsvc.pool.settings import PoolSettings
from featsvc.pool.status import WorkerState
from tests.pool.conftest import Journal, MakeGate, StartPool, all_alive
from tests.pool.fakes import FakeItem, FakeOptions
from tests.pool.jobs import job, submit, submitted


async def test_kill_nine_under_32_concurrent_jobs_fails_none_of_them(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    others = await submitted(pool, *(job(number) for number in range(31)))
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    await gate.reached()  # in the new worker
    gate.let_through()
    results = await asyncio.gather(*held, *others)
    assert [result.value for result in results] == ["held", *range(31)]
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
    os.kill(busy.pid, signal.SIGKILL)
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
    assert isinstance(refusal, Unavailable)
    assert "two workers died" in refusal.message
    assert [result.value for result in results] == ["held", *range(13), *range(14, 32)]
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
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
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
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    await pool.alive_change(1)
    await all_alive(pool)
    await pool.run(job("after"))
    assert journal.text().count("run left") == 1


async def test_a_hung_worker_is_killed_and_its_neighbours_are_answered(start_pool: StartPool) -> None:
    pool = await start_pool(batch_timeout_s=0.3)
    hung, other = submit(pool, job(does="hang"), job("other"))
    assert (await other).value == "other"
    with pytest.raises(Unavailable, match="two workers died"):
        await hung
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


async def test_a_slow_load_is_not_a_hang(start_pool: StartPool) -> None:
    pool = await start_pool(batch_timeout_s=0.5)
    item = FakeItem("loaded", "hang", seconds=0.1)
    assert (await pool.run(job(item=item, model="slow"))).value == "loaded"
    assert pool.status().workers[0].restarts == 0


async def test_a_batch_that_goes_on_answering_has_not_hung(start_pool: StartPool) -> None:
    pool = await start_pool(batch_timeout_s=0.5, max_batch_pixels=1)
    tasks = submit(pool, *(job(item=FakeItem(number, "hang", seconds=0.2)) for number in range(6)))
    assert [result.value for result in await asyncio.gather(*tasks)] == list(range(6))
    assert pool.status().workers[0].restarts == 0


async def test_a_death_breaks_off_a_model_load_that_was_asked_for(start_pool: StartPool) -> None:
    pool = await start_pool()
    with pytest.raises(Unavailable, match="died"):
        await pool.load("die")
    await all_alive(pool)


async def test_a_worker_that_cannot_start_is_given_up_and_jobs_are_refused(
    settings: PoolSettings, caplog: pytest.LogCaptureFixture
) -> None:
    options = FakeOptions(fails=True)
    async with LocalPool(replace(settings, engine_options=options, max_failed_starts=3)) as pool:
        waiting = submit(pool, job())
        with pytest.raises(Unavailable, match="no worker can start"):
            await waiting[0]
        status = pool.status()
        assert (status.workers[0].state, status.workers[0].restarts) == (WorkerState.FAILED, 2)
        with pytest.raises(Unavailable, match="no worker can start"):
            await pool.run(job())
    assert "worker given up" in caplog.text


async def test_watchers_hear_of_deaths_and_returns(start_pool: StartPool) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    os.kill(pool.status().workers[1].pid, signal.SIGKILL)
    assert await pool.alive_change(2) == 1
    assert await pool.alive_change(1) == 2


def test_restarts_of_a_worker_that_dies_at_once_come_slower_and_slower() -> None:
    lives = Lives(PoolSettings(restart_delay_s=0.1, max_restart_delay_s=0.5))
    delays = []
    for _ in range(5):
        lives.was_born()
        delays.append(lives.restart_delay_s())
    assert delays == [0.1, 0.2, 0.4, 0.5, 0.5]
    lives.was_born()
    lives.did_work()
    assert lives.restart_delay_s() == 0.1


def test_only_failed_starts_in_a_row_count() -> None:
    lives = Lives(PoolSettings(max_failed_starts=3))
    assert [lives.restart_delay_s() is None for _ in range(2)] == [False, False]
    lives.was_born()
    assert [lives.restart_delay_s() is None for _ in range(4)] == [False, False, False, True]
