"""Batches under real workers: what shares one, and what one bad item does to the others."""

from __future__ import annotations

import asyncio
import json
import logging
import os

import numpy as np
import pytest

from featsvc.errors import FeatsvcError, InvalidArgument, Overloaded
from featsvc.pool.contract.status import WorkerState
from tests.pool.conftest import Journal, MakeGate, StartPool
from tests.pool.fakes import FakeItem, FakeParams
from tests.pool.jobs import fake_operation, job, submit, submitted


async def test_an_idle_pool_answers_at_once_from_another_process(start_pool: StartPool) -> None:
    pool = await start_pool()
    result = await pool.run(job("hello"))
    assert result.value == "hello"
    assert result.pid == pool.status().workers[0].pid != os.getpid()
    assert result.batch_size == 1


async def test_a_busy_worker_gets_all_that_waits_as_one_batch(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(max_batch_items=32), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    filling = await submitted(pool, job())  # the second slot
    others = await submitted(pool, *(job(number) for number in range(20)))
    assert pool.status().queued_count == 20
    gate.let_through()
    results = await asyncio.gather(*others)
    assert [result.value for result in results] == list(range(20))
    assert {result.batch_size for result in results} == {20}
    await asyncio.gather(*first, *filling)


async def test_the_next_batch_is_prepared_while_one_computes(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, computing, preparing = await start_pool(), make_gate(), make_gate()
    first = submit(pool, job(item=FakeItem("first", gate=str(computing))))
    await computing.reached()
    second = submit(pool, job(item=FakeItem("second", gate=str(preparing), stage="prepare")))
    await preparing.reached()  # while the first is still held
    preparing.let_through()
    computing.let_through()
    await asyncio.gather(*first, *second)
    assert journal.lines()[1:] == [
        "prepare first",
        "run first",
        "prepare second",
        "run second",
    ]


async def test_only_items_of_equal_padded_size_share_a_forward_pass(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    sizes = [1, 2, 1, 3, 2, 1]
    others = await submitted(pool, *(job(item=FakeItem(size, size=size)) for size in sizes))
    gate.let_through()
    results = await asyncio.gather(*others)
    assert [result.value for result in results] == sizes
    assert [result.batch_size for result in results] == [3, 2, 3, 1, 2, 3]
    await asyncio.gather(*first)


async def test_batches_are_prepared_beside_each_other_where_there_are_slots_for_them(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=3, max_batch_items=1), make_gate()
    await asyncio.gather(*submit(pool, job()))  # what waits for a model is prepared where that is loaded
    both = submit(pool, *(job(item=FakeItem(each, stage="prepare", gate=str(gate))) for each in range(2)))
    await gate.reached(2)
    gate.let_through(2)
    assert [result.value for result in await asyncio.gather(*both)] == [0, 1]


async def test_a_forward_pass_stays_within_the_pixel_budget(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1, max_batch_pixels=10), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    others = await submitted(pool, *(job(item=FakeItem(pixels=pixels)) for pixels in (4, 6, 1, 99, 3)))
    gate.let_through()
    assert [result.batch_size for result in await asyncio.gather(*others)] == [2, 2, 1, 1, 1]
    await asyncio.gather(*first)


async def test_one_bad_item_fails_alone(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    others = await submitted(pool, *(job(number, "fail" if number == 5 else "") for number in range(8)))
    gate.let_through()
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [getattr(result, "value", None) for result in results] == [0, 1, 2, 3, 4, None, 6, 7]
    assert type(results[5]) is FeatsvcError
    assert "request-5" in str(results[5])
    assert "secret" not in str(results[5])
    await asyncio.gather(*first)


@pytest.mark.parametrize("stage", ["prepare", "run"])
async def test_a_domain_error_reaches_its_caller_as_it_is(start_pool: StartPool, stage: str) -> None:
    pool = await start_pool()
    bad, good = submit(pool, job(item=FakeItem(does="refuse", stage=stage)), job("good"))
    with pytest.raises(InvalidArgument, match="image: not a picture"):
        await bad
    assert (await good).value == "good"


async def test_the_traceback_goes_to_the_log_with_the_request_id(
    start_pool: StartPool, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = await start_pool(log_level="ERROR", log_format="json")
    with pytest.raises(FeatsvcError, match="request-7"):
        await pool.run(job(7, "fail"))
    log = ""
    while not log.endswith("}\n"):  # a thread of the worker writes it
        await asyncio.sleep(0.01)
        log += capfd.readouterr().err
    line = json.loads(log)
    assert line["request_id"] == "request-7"
    assert "ValueError: secret path" in line["traceback"]


async def test_a_result_that_cannot_be_pickled_fails_alone(start_pool: StartPool) -> None:
    pool = await start_pool()
    with pytest.raises(FeatsvcError, match="cannot be sent"):
        await pool.run(job(0, "unpicklable"))
    assert (await pool.run(job("next"))).value == "next"
    assert pool.status().workers[0].restarts == 0


async def test_an_item_that_cannot_be_pickled_fails_alone(
    start_pool: StartPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await start_pool()
    with pytest.raises(FeatsvcError, match="cannot be sent"), caplog.at_level(logging.CRITICAL):
        await pool.run(job(lambda: None))
    assert (await pool.run(job("next"))).value == "next"


@pytest.mark.parametrize("raw", [True, False])
async def test_memory_running_out_halves_the_batch_and_is_remembered(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal, raw: bool
) -> None:
    params = FakeParams(most=2, raw=raw)
    pool, gate = await start_pool(slots=1), make_gate()

    async def runs(count: int) -> list[int]:
        before = len(journal.lines())
        held = submit(pool, job(item=FakeItem("held", gate=str(gate)), params=params))
        await gate.reached()
        tasks = await submitted(pool, *(job(number, params=params) for number in range(count)))
        gate.let_through()
        assert [result.value for result in await asyncio.gather(*tasks)] == list(range(count))
        await asyncio.gather(*held)
        lines = journal.lines()[before:]
        return [line.count(",") + 1 for line in lines if line.startswith("run ") and "held" not in line]

    assert await runs(8) == [8, 4, 2, 2, 2, 2]
    assert await runs(8) == [2, 2, 2, 2]


async def test_an_item_that_does_not_fit_alone_is_refused(start_pool: StartPool) -> None:
    pool = await start_pool()
    for bad in (
        job(params=FakeParams(most=0)),
        job(params=FakeParams(most=0, raw=False)),
        job(does="no memory"),
    ):
        with pytest.raises(FeatsvcError, match="no memory for this request") as refusal:
            await pool.run(bad)
        assert refusal.value.code == "RESOURCE_EXHAUSTED"


async def test_sixty_four_megabytes_arrive_as_they_were(start_pool: StartPool) -> None:
    pool, nbytes = await start_pool(), 64 * 1024 * 1024
    result = await pool.run(job(nbytes, "array"))
    np.testing.assert_array_equal(result.value, np.arange(nbytes // 4, dtype=np.float32))
    content = np.arange(nbytes // 8).tobytes()
    echo = await pool.run(job(content))
    assert echo.value == content


async def test_a_full_queue_refuses_at_once(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(slots=1, max_queued=3), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    waiting = await submitted(pool, *(job(number) for number in range(3)))
    with pytest.raises(Overloaded):
        await pool.run(job())
    gate.let_through()
    await asyncio.gather(*held, *waiting)
    assert (await pool.run(job("again"))).value == "again"


async def test_the_concurrency_limit_keeps_the_others_in_the_queue(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(devices=("cpu", "cpu"), max_concurrency=1), make_gate()
    held = await submitted(pool, *(job(item=FakeItem(number, gate=str(gate))) for number in range(2)))
    await gate.reached(2)
    assert all(worker.state is WorkerState.BUSY for worker in pool.status().workers), "one on each worker"
    waiting = await submitted(pool, job(1), job(2))
    elsewhere = await submitted(pool, job("free", operation=fake_operation("other.run", "dino")))
    assert pool.status().queued_count == 2, "those of the service that has its batch on each worker"
    gate.let_through(2)
    assert (await elsewhere[0]).value == "free"
    results = await asyncio.gather(*waiting)
    assert [result.batch_size for result in results] == [2, 2]
    await asyncio.gather(*held)


async def test_items_that_take_long_to_prepare_hold_up_no_other(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    long = FakeItem("long", gate=str(gate), stage="prepare", takes_long=True)
    slow = [
        task
        for each in range(4)
        for task in await submitted(pool, job(item=long, params=FakeParams(1000 + each)))
    ]
    await gate.reached(2)  # the other two wait for their turn
    assert (await pool.run(job("quick"))).value == "quick"
    assert not any(task.done() for task in slow)
    gate.let_through(4)
    assert [result.value for result in await asyncio.gather(*slow)] == ["long"] * 4


async def test_a_job_says_how_long_it_waited_and_was_at_work_and_who_shared_its_pass(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    asked = [job(number) for number in range(3)]
    others = await submitted(pool, *asked)
    (open_jobs,) = pool.status().open_jobs
    assert (open_jobs.operation, open_jobs.model, open_jobs.caller) == ("fake.run", "m", "")
    assert (open_jobs.waiting, open_jobs.waiting_bytes, open_jobs.at_work) == (3, 3, 1)
    assert open_jobs.oldest_s > 0
    gate.let_through()
    await asyncio.gather(*first, *others)
    assert pool.status().open_jobs == ()
    timings = [each.times.at_worker for each in asked if each.times.at_worker]
    assert [timing.is_first for timing in timings] == [True, False, False]
    assert {(timing.batch_size, timing.compute_s, timing.paused_s) for timing in timings} == {
        (3, timings[0].compute_s, 0.0)
    }
    assert all(timing.decode_s >= 0 and timing.waited_s >= 0 for timing in timings)
    for each in asked:
        times = each.times
        assert times.dispatched_at is not None
        assert times.arrived_at < times.dispatched_at < times.answered_at
        assert times.worker == 0
