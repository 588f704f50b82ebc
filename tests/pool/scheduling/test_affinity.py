"""Jobs about one picture go to the worker that knows it."""

from __future__ import annotations

import asyncio
import time

import pytest

from featsvc.pool.scheduling.affinity import MOST_KNOWN
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.scheduling.scheduler import Scheduler
from tests.pool.conftest import MakeEntry, MakeGate, StartPool
from tests.pool.entries import Worker, completed, dispatched, scheduler_with, taken
from tests.pool.fakes import FakeItem
from tests.pool.jobs import fake_operation, job, submit, submitted

MODELS = frozenset({"m"})


def two_workers() -> tuple[Worker, Worker]:
    return Worker(0, MODELS), Worker(1, MODELS)


def given(scheduler: Scheduler, worker: Worker, other: Worker) -> Batch:
    batch = dispatched(scheduler, worker, other)
    assert batch is not None
    return batch


async def test_while_a_worker_has_a_picture_in_flight_no_other_gets_a_job_about_it(
    make_entry: MakeEntry,
) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="new"))
    given(scheduler, first, second)
    again = make_entry(affinity="new")
    scheduler.admit(again, workers=2)
    scheduler.release(again)
    assert not taken(scheduler, second, first)
    assert taken(scheduler, first, second) == [again]


async def test_a_picture_that_nobody_has_goes_to_any_worker(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    entries = [make_entry(affinity="a"), make_entry(affinity="b")]
    scheduler = scheduler_with(*entries)
    assert taken(scheduler, first, second) == entries[:1]
    assert taken(scheduler, second, first) == entries[1:]


async def test_waiting_jobs_follow_the_first_that_is_taken_about_their_picture(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    entries = [make_entry(affinity="new", operation=fake_operation(f"fake.{number}")) for number in range(3)]
    other = make_entry(due=500)
    scheduler = scheduler_with(*entries, other)
    assert taken(scheduler, first, second) == entries[:1]
    assert taken(scheduler, second, first) == [other]
    assert not taken(scheduler, second, first)
    assert taken(scheduler, first, second) == entries[1:2]


async def test_a_job_waits_for_the_worker_that_had_its_picture_but_not_longer_than_it_should(
    make_entry: MakeEntry,
) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="known"))
    completed(scheduler, given(scheduler, first, second))
    again = make_entry(affinity="known")
    scheduler.admit(again, workers=2)
    assert not taken(scheduler, second, first)
    scheduler.release(again)
    assert taken(scheduler, second, first) == [again]


async def test_the_worker_that_took_a_picture_last_is_the_one_that_has_it(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="known"))
    completed(scheduler, given(scheduler, first, second))
    moved, last = make_entry(affinity="known"), make_entry(affinity="known")
    scheduler.admit(moved, workers=2)
    scheduler.release(moved)
    completed(scheduler, given(scheduler, second, first))
    scheduler.admit(last, workers=2)
    assert not taken(scheduler, first, second)
    assert taken(scheduler, second, first) == [last]


async def test_a_job_is_free_again_when_the_one_in_flight_ends_after_it_waited_long(
    make_entry: MakeEntry,
) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="known"))
    batch = given(scheduler, first, second)
    again = make_entry(affinity="known")
    scheduler.admit(again, workers=2)
    scheduler.release(again)
    completed(scheduler, batch)
    assert taken(scheduler, second, first) == [again]


async def test_a_worker_prefers_pictures_that_it_has(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="known"))
    completed(scheduler, given(scheduler, first, second))
    sooner, known = make_entry(due=10.0, affinity="new"), make_entry(due=10.5, affinity="known")
    much_later = make_entry(due=12.0, affinity="known", operation=fake_operation("fake.other"))
    for entry in (sooner, known, much_later):
        scheduler.admit(entry, workers=2)
    assert taken(scheduler, first, second) == [known]
    assert taken(scheduler, first, second) == [sooner]


async def test_a_dead_worker_has_no_pictures(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="known"))
    completed(scheduler, given(scheduler, first, second))
    again = make_entry(affinity="known")
    scheduler.admit(again, workers=2)
    scheduler.lost(first.id)
    assert taken(scheduler, second, first) == [again]
    assert not scheduler.in_flight(first.id).affinities


async def test_a_worker_is_remembered_for_its_latest_pictures_only(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    scheduler = scheduler_with()
    for number in range(MOST_KNOWN + 1):
        scheduler.admit(make_entry(affinity=str(number)), workers=2)
        completed(scheduler, given(scheduler, first, second))
    oldest, next_oldest = make_entry(affinity="0"), make_entry(affinity="1")
    scheduler.admit(next_oldest, workers=2)
    assert not taken(scheduler, second, first)
    scheduler.admit(oldest, workers=2)
    assert taken(scheduler, second, first) == [oldest]
    assert len(scheduler._homes) == len(scheduler.in_flight(first.id).affinities) + 1 == MOST_KNOWN + 1


async def test_jobs_about_different_pictures_share_no_batch(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    entries = [make_entry(affinity="ab"[number % 2]) for number in range(4)]
    scheduler = scheduler_with(*entries)
    assert taken(scheduler, first, second) == entries[::2]
    assert taken(scheduler, first, second) == entries[1::2]


@pytest.mark.parametrize("pictures", [1, 10_000])
async def test_ten_thousand_waiting_jobs_cost_little_each(make_entry: MakeEntry, pictures: int) -> None:
    entries = [make_entry(affinity=str(number % pictures)) for number in range(10_000)]
    first, second = two_workers()
    began = time.process_time()
    scheduler = scheduler_with(*entries, max_queued=20_000)
    left: list[QueueEntry] = []
    while scheduler.queue.count:
        for worker, other in ((first, second), (second, first)):
            if batch := dispatched(scheduler, worker, other):
                left += batch.entries.values()
                completed(scheduler, batch)
    spent = time.process_time() - began
    assert sorted(entry.id for entry in left) == [entry.id for entry in entries]
    # Some 40 µs on two cores without a GPU; what walks over all that wait takes milliseconds.
    assert spent / len(entries) < 0.001


async def test_concurrent_jobs_about_a_new_picture_run_in_one_process(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(devices=("cpu", "cpu")), make_gate()
    first = submit(pool, job(item=FakeItem(gate=str(gate)), affinity="new"))
    await gate.reached()
    others = await submitted(pool, *(job(number, affinity="new") for number in range(5)))
    elsewhere = await asyncio.gather(*submit(pool, *(job(affinity=name) for name in "abc")))
    gate.let_through()
    pids = {result.pid for result in await asyncio.gather(*first, *others)}
    assert len(pids) == 1
    assert {result.pid for result in elsewhere}.isdisjoint(pids)


async def test_a_job_moves_on_when_the_worker_that_had_its_picture_is_busy_for_long(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(devices=("cpu", "cpu"), slots=1, affinity_s=0.1), make_gate()
    home = (await pool.run(job(affinity="known"))).pid
    held = submit(pool, job(item=FakeItem(gate=str(gate)), affinity="other"))
    await gate.reached()  # where the model is
    began = time.monotonic()
    moved = (await pool.run(job(affinity="known"))).pid
    assert time.monotonic() - began >= 0.1
    gate.let_through()
    assert (await held[0]).pid == home != moved


async def test_a_job_that_comes_back_from_a_stopped_worker_waits_for_none_for_ever(
    start_pool: StartPool, make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, gate = await start_pool(affinity_s=0.0), make_gate()  # sooner than a worker is back
    held = submit(pool, job(item=FakeItem("held", gate=str(gate)), affinity="a"))[0]
    await gate.reached()
    released: asyncio.Future[QueueEntry] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(Scheduler, "release", lambda _, entry: released.set_result(entry))
    (worker,) = pool._workers
    worker._heart.was_stopped = True
    worker.kill()
    assert (await asyncio.wait_for(released, 60)).job.affinity == "a"
    await gate.reached()
    gate.let_through()
    assert (await held).value == "held"
