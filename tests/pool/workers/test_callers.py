"""Callers that leave, and deadlines that pass."""

from __future__ import annotations

import asyncio
import queue
import threading
import time

import pytest

from featsvc.errors import DeadlineExceeded, InvalidArgument
from featsvc.pool.contract.messages import BatchItem, Boot, Cancel, FromWorker, Outcome, RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.costs import FIRST_S
from featsvc.pool.worker.pipeline import Pipeline
from tests.pool.conftest import Journal, MakeGate, StartPool
from tests.pool.fakes import FakeEngines, FakeItem, FakeOptions, FakeParams
from tests.pool.jobs import job, submit, submitted


async def test_a_cancelled_job_never_reaches_a_worker(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    tasks = await submitted(pool, *(job(f"job{number}") for number in range(3)))
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert pool.status().queued_count == 2
    gate.let_through()
    await asyncio.gather(*held, tasks[0], tasks[2])
    assert "job1" not in journal.text()


async def test_a_job_cancelled_at_the_worker_before_its_turn_never_runs(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    cancelled = (await submitted(pool, job("cancelled")))[0]
    await pool.unload("none")  # its answer comes after the preparation
    assert "prepare cancelled" in journal.text()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await pool.unload("none")  # its answer comes after the cancellation
    gate.let_through()
    await asyncio.gather(*held)
    assert (await pool.run(job("after"))).value == "after"
    assert "run cancelled" not in journal.text()


async def test_preparation_that_takes_long_ends_when_its_caller_leaves(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(), make_gate()
    item = FakeItem("left", "compute until abandoned", "prepare", str(gate), takes_long=True)
    left = submit(pool, job(item=item))[0]
    await gate.reached()
    left.cancel()
    gate.let_through()
    while pool._scheduler.in_flight(0).batches:
        await pool.run(job("beside"))
    assert "abandoned left" in journal.lines()


async def test_preparation_that_takes_long_ends_at_its_deadline(start_pool: StartPool) -> None:
    pool = await start_pool()
    item = FakeItem("late", "compute until abandoned", "prepare", takes_long=True)
    with pytest.raises(DeadlineExceeded):
        await pool.run(job(item=item, deadline_s=0.2))
    while pool._scheduler.in_flight(0).batches:
        await pool.run(job("beside"))


def test_a_worker_prepares_neither_cancelled_nor_expired_items(journal: Journal) -> None:
    answers: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
    settings = PoolSettings(engines="tests.pool.fakes:build")

    def send(*messages: FromWorker) -> None:
        for message in messages:
            answers.put(message)

    pipeline = Pipeline(FakeEngines(FakeOptions(str(journal))), Boot.of(0, "cpu", settings), send)
    times_left = {1: None, 2: -1.0, 3: 60.0}
    items = tuple(
        BatchItem(number, "", FakeItem(f"job{number}"), left_s) for number, left_s in times_left.items()
    )
    pipeline.put(RunBatch(1, "fake.run", "m", FakeParams(), items))
    pipeline.put(Cancel(1))
    threading.Thread(target=pipeline.run, daemon=True).start()
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < 3:
        answer = answers.get()
        if isinstance(answer, Outcome):
            outcomes[answer.item] = answer
    assert [outcomes[number].skipped for number in (1, 2, 3)] == [True, True, False]
    assert journal.lines() == ["load m", "prepare job3", "run job3"]


async def test_a_job_cancelled_while_it_runs_frees_its_slot_when_it_ends(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    running, mate = submit(pool, job(item=FakeItem(gate=str(gate))), job("mate"))
    await gate.reached()
    running.cancel()
    gate.let_through()
    assert (await mate).value == "mate"
    assert pool.status().queued_count == 0
    assert not pool._scheduler._entries


@pytest.mark.parametrize("deadline_s", [None, 1.0])
async def test_a_computation_that_nobody_waits_for_is_abandoned(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal, deadline_s: float | None
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    endless = FakeItem("endless", "compute until abandoned", gate=str(gate))
    running = submit(pool, job(item=endless, deadline_s=deadline_s))[0]
    await gate.reached()
    gate.let_through()
    if deadline_s is None:
        running.cancel()
    with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
        await running
    # A long pass may let others run before it looks again whether anybody waits for it.
    while "abandoned endless" not in journal.text():
        assert (await pool.run(job("after"))).value == "after"


async def test_a_job_that_expires_in_the_queue_is_answered_then_and_never_runs(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    with pytest.raises(DeadlineExceeded):
        await pool.run(job("expired", deadline_s=0.05))
    assert pool.status().queued_count == 0
    gate.let_through()
    await asyncio.gather(*held)
    await pool.run(job("after"))
    assert "expired" not in journal.text()


async def test_a_job_that_expires_while_it_runs_is_answered_then(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    deadline_s, arriving = 0.25, asyncio.create_task(gate.reached())
    while not arriving.done():  # it may expire before it gets to work
        begin, deadline_s = time.monotonic(), 2 * deadline_s
        late = submit(pool, job(item=FakeItem(gate=str(gate)), deadline_s=deadline_s))[0]
        await asyncio.wait((arriving, late), return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(DeadlineExceeded):
        await late
    assert time.monotonic() - begin > 0.9 * deadline_s
    gate.let_through()
    assert (await pool.run(job("after"))).value == "after"


async def test_a_job_that_comes_too_late_is_refused(start_pool: StartPool, journal: Journal) -> None:
    pool = await start_pool()
    with pytest.raises(DeadlineExceeded, match="when the request arrived"):
        await pool.run(job("late", deadline_s=-1))
    assert "late" not in journal.text()


async def test_an_urgent_job_overtakes_one_that_has_time(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(slots=1, max_batch_items=1), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    tasks = await submitted(pool, job("patient"), job("urgent", deadline_s=60))
    gate.let_through()
    await asyncio.gather(*held, *tasks)
    runs = [line for line in journal.lines() if line.startswith("run")]
    assert runs == ["run held", "run urgent", "run patient"]


async def test_a_caller_whose_request_fails_is_charged_what_it_took(start_pool: StartPool) -> None:
    pool, refused = await start_pool(), job(does="refuse")
    with pytest.raises(InvalidArgument):
        await pool.run(refused)
    # What was predicted stands where nobody has told anything.
    assert pool._scheduler.queue.flows.of(None).served_s not in (0.0, FIRST_S)
    assert refused.times.at_worker is None
