"""Which batch a worker gets, decided without any process."""

from __future__ import annotations

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.contract.messages import GoesOn
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import Queue
from tests.pool.conftest import MakeEntry
from tests.pool.entries import Worker, completed, dispatched, scheduler_with, taken
from tests.pool.fakes import FakeParams
from tests.pool.jobs import fake_operation


async def test_a_batch_is_what_waits_now_with_the_same_operation_model_and_params(
    make_entry: MakeEntry,
) -> None:
    alike = [make_entry(), make_entry(params=FakeParams())]
    different = [
        make_entry(operation=fake_operation("fake.other")),
        make_entry(model="n"),
        make_entry(params=FakeParams(most=7)),
        make_entry(operation=fake_operation("other.run", "dino")),
    ]
    scheduler = scheduler_with(alike[0], *different, alike[1])
    assert taken(scheduler, Worker(0)) == alike
    assert scheduler.queue.count == len(different)


async def test_the_oldest_deadline_comes_first_and_ties_go_by_arrival(make_entry: MakeEntry) -> None:
    late, soon, soon_too = make_entry(due=30), make_entry(due=10), make_entry(due=10)
    scheduler = scheduler_with(late, soon, soon_too, max_batch_items=2)
    assert taken(scheduler, Worker(0)) == [soon, soon_too]


async def test_the_group_of_the_oldest_deadline_comes_first(make_entry: MakeEntry) -> None:
    many = [make_entry(due=20) for _ in range(3)]
    urgent = make_entry(due=10, params=FakeParams(most=7))
    scheduler = scheduler_with(*many, urgent)
    assert taken(scheduler, Worker(0)) == [urgent]


async def test_a_batch_has_at_most_so_many_items(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(*(make_entry() for _ in range(7)))
    assert len(taken(scheduler, Worker(0))) == 3


async def test_a_batch_has_at_most_so_many_bytes_but_for_one_item(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(*(make_entry(nbytes=each) for each in (90, 30, 20, 60)), max_batch_bytes=50)
    worker = Worker(0)
    assert [[each.job.nbytes for each in taken(scheduler, worker)] for _ in range(2)] == [[90], [30, 20]]


@pytest.mark.parametrize(("devices", "most"), [(("cuda:0",), 6), (("cpu", "cpu"), 3), (("cpu", "cuda:0"), 6)])
async def test_more_of_what_is_small_shares_a_batch_where_there_is_a_gpu(
    make_entry: MakeEntry, devices: tuple[str, ...], most: int
) -> None:
    small = fake_operation("fake.small", per_picture=2)
    entries = [make_entry(operation=small) for _ in range(9)]
    scheduler = scheduler_with(*entries, make_entry(), devices=devices)
    assert taken(scheduler, Worker(0)) == entries[:most]


async def test_a_worker_carries_one_batch_in_compute_and_one_in_preparation(make_entry: MakeEntry) -> None:
    scheduler, worker = scheduler_with(*(make_entry() for _ in range(9))), Worker(0)
    batches = [dispatched(scheduler, worker) for _ in range(3)]
    assert [batch is not None for batch in batches] == [True, True, False]
    assert batches[0] is not None
    completed(scheduler, batches[0])
    assert taken(scheduler, worker)


async def test_a_family_has_at_most_so_many_batches_at_a_worker(make_entry: MakeEntry) -> None:
    other = make_entry(operation=fake_operation("other.run", "dino"), due=500)
    scheduler = scheduler_with(*(make_entry() for _ in range(9)), other, max_concurrency=1)
    worker = Worker(0)
    batch = dispatched(scheduler, worker)
    assert batch is not None
    assert batch.job.operation.family == "clip"
    assert taken(scheduler, worker) == [other]
    completed(scheduler, batch)
    assert len(taken(scheduler, worker)) == 3


async def test_every_worker_of_many_gets_work_of_one_service(make_entry: MakeEntry) -> None:
    workers = [Worker(number, frozenset({"m"})) for number in range(8)]
    scheduler = scheduler_with(*(make_entry() for _ in range(16)), max_batch_items=1)
    for _ in range(2):
        assert all(dispatched(scheduler, worker, *workers) for worker in workers)
    assert not scheduler.queue.count


async def test_a_worker_prefers_a_model_that_it_has(make_entry: MakeEntry) -> None:
    first, loaded = make_entry(model="n", due=10.0), make_entry(model="m", due=10.5)
    assert taken(scheduler_with(first, loaded), Worker(0, frozenset({"m"}))) == [loaded]


async def test_a_model_that_waits_too_long_is_loaded_all_the_same(make_entry: MakeEntry) -> None:
    first, loaded = make_entry(model="n", due=10.0), make_entry(model="m", due=12.0)
    assert taken(scheduler_with(first, loaded), Worker(0, frozenset({"m"}))) == [first]


async def test_a_job_goes_to_the_idle_worker_that_has_its_model(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    empty, holder = Worker(0), Worker(1, frozenset({"m"}))
    assert not taken(scheduler, empty, holder)
    assert taken(scheduler, holder, empty)


async def test_an_idle_worker_loads_a_model_whose_holders_are_busy(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    holder, idle = Worker(1, frozenset({"m"})), Worker(0)
    assert taken(scheduler, holder, idle)
    wanted = make_entry(model="m")
    scheduler.queue.add(wanted)
    assert taken(scheduler, idle, holder) == [wanted]


async def test_a_busy_worker_loads_no_second_copy_of_a_model(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    holder, busy = Worker(1, frozenset({"m"})), Worker(0)
    assert taken(scheduler, holder, busy)
    scheduler.queue.add(make_entry(model="n"))
    assert taken(scheduler, busy, holder)
    scheduler.queue.add(make_entry(model="m"))
    assert not taken(scheduler, busy, holder)


async def test_a_suspect_runs_alone_on_an_empty_worker(make_entry: MakeEntry) -> None:
    scheduler, worker = scheduler_with(make_entry()), Worker(0)
    batch = dispatched(scheduler, worker)
    assert batch is not None
    suspects = [make_entry(deaths=1), make_entry(deaths=1)]
    for entry in [*suspects, make_entry()]:
        scheduler.queue.add(entry)
    assert not taken(scheduler, worker), (
        "no suspect beside a batch, and nothing else that would keep it waiting"
    )
    completed(scheduler, batch)
    alone = dispatched(scheduler, worker)
    assert alone is not None
    assert list(alone.entries.values()) == suspects[:1]
    scheduler.queue.remove(suspects[1])
    assert not taken(scheduler, worker), "nothing beside a suspect"
    completed(scheduler, alone)
    assert taken(scheduler, worker)


async def test_one_worker_is_emptied_for_a_suspect_and_the_others_go_on(make_entry: MakeEntry) -> None:
    workers = [Worker(number, frozenset({"m"})) for number in range(3)]
    scheduler = scheduler_with(*(make_entry() for _ in range(40)), max_batch_items=1)
    first = [dispatched(scheduler, worker, *workers) for worker in workers]
    suspects = [make_entry(deaths=1), make_entry(deaths=1)]
    for suspect in suspects:
        scheduler.queue.add(suspect)
    took = [dispatched(scheduler, worker, *workers) is not None for worker in workers]
    assert sorted(took) == [False, True, True], "one is kept from further work, and it alone"
    emptied = took.index(False)
    batch = first[emptied]
    assert batch is not None
    completed(scheduler, batch)
    alone = dispatched(scheduler, workers[emptied], *workers)
    assert alone is not None
    assert list(alone.entries.values()) == suspects[:1]
    assert alone.alone
    assert dispatched(scheduler, workers[emptied], *workers) is None, "nothing beside it"


async def test_short_work_goes_on_while_a_suspect_waits_for_a_long_pass_but_not_after_it(
    make_entry: MakeEntry,
) -> None:
    scheduler, worker = scheduler_with(make_entry(params=FakeParams(most=7))), Worker(0)
    long = dispatched(scheduler, worker)
    assert long
    scheduler.note_progress(worker.id, GoesOn(long.id, computes=True))
    suspect, other = make_entry(deaths=1), make_entry(params=FakeParams(most=8))
    scheduler.queue.add(suspect)
    scheduler.admit(other, workers=1)
    meanwhile = dispatched(scheduler, worker)
    assert meanwhile
    assert list(meanwhile.entries.values()) == [other]
    scheduler.note_progress(worker.id, GoesOn(meanwhile.id, computes=True))
    completed(scheduler, long)
    scheduler.admit(make_entry(), workers=1)
    assert not taken(scheduler, worker), "what came meanwhile is no reason to let more come"
    completed(scheduler, meanwhile)
    assert taken(scheduler, worker) == [suspect]


async def test_a_suspect_goes_to_a_worker_that_is_empty_already(make_entry: MakeEntry) -> None:
    workers = [Worker(number, frozenset({"m"})) for number in range(2)]
    scheduler = scheduler_with(*(make_entry() for _ in range(9)), max_batch_items=1)
    assert taken(scheduler, workers[0], workers[1])
    suspect = make_entry(deaths=1)
    scheduler.queue.add(suspect)
    assert taken(scheduler, workers[1], workers[0]) == [suspect]
    assert taken(scheduler, workers[0], workers[1])


async def test_a_suspect_whose_caller_has_gone_holds_nothing_up(make_entry: MakeEntry) -> None:
    gone, waits = make_entry(deaths=1), make_entry()
    scheduler = scheduler_with(gone, waits)
    gone.future.cancel()
    assert taken(scheduler, Worker(0)) == [waits]
    assert scheduler.queue.count == 0


async def test_jobs_whose_callers_have_gone_are_dropped(make_entry: MakeEntry) -> None:
    entries = [make_entry() for _ in range(3)]
    scheduler = scheduler_with(*entries, make_entry(due=900))
    for entry in entries:
        entry.future.cancel()
    assert len(taken(scheduler, Worker(0))) == 1
    assert scheduler.queue.count == 0


async def test_a_full_queue_refuses_by_count_and_says_when_to_come_back(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(), make_entry(), max_queued=2)
    with pytest.raises(Overloaded, match="2 requests are waiting, at most 2") as refusal:
        scheduler.admit(make_entry(), workers=1)
    assert 100 <= refusal.value.retry_after_ms <= 60_000


async def test_a_full_queue_refuses_by_bytes(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(nbytes=60), max_queued_bytes=100)
    with pytest.raises(Overloaded, match="60 bytes"):
        scheduler.admit(make_entry(nbytes=41), workers=1)
    scheduler.admit(make_entry(nbytes=40), workers=1)
    assert (scheduler.queue.count, scheduler.queue.nbytes) == (2, 100)


async def test_one_job_larger_than_the_queue_is_taken_when_nothing_waits(make_entry: MakeEntry) -> None:
    assert scheduler_with(make_entry(nbytes=101), max_queued_bytes=100).queue.nbytes == 101


async def test_entries_that_leave_early_do_not_pile_up(make_entry: MakeEntry) -> None:
    queue, keeper = Queue(lambda key, is_overdue: None), make_entry(due=1e9)
    queue.add(keeper)
    for number in range(1000):
        entry = make_entry(due=float(number), params=FakeParams(most=number), affinity=str(number % 7))
        queue.add(entry)
        queue.remove(entry)
    (flow,) = queue.flows.waiting
    assert list(flow.heads(0)) == [keeper]
    assert len(queue._about) == len(flow.by_takers) == 1
    assert queue.take(keeper, 10, 10) == [keeper]
    assert (queue.count, queue.nbytes, flow.nbytes) == (0, 0, 0)
    assert (queue._about, flow.by_takers, flow.entries, queue.flows.waiting) == ({}, {}, {}, [])


async def test_a_retried_entry_is_not_found_in_its_old_place(make_entry: MakeEntry) -> None:
    entry, other = make_entry(due=1), make_entry(due=2)
    scheduler, worker = scheduler_with(entry, other, max_batch_items=1), Worker(0)
    batch: Batch | None = dispatched(scheduler, worker)
    assert batch is not None
    completed(scheduler, batch)
    entry.deaths = 1
    scheduler.queue.add(entry)
    suspect = dispatched(scheduler, worker)
    assert suspect is not None
    assert list(suspect.entries.values()) == [entry]
    completed(scheduler, suspect)
    assert taken(scheduler, worker) == [other]
    assert not scheduler.queue.count


async def test_no_worker_stays_empty_for_a_suspect_whose_caller_has_gone(make_entry: MakeEntry) -> None:
    busy, idle = Worker(0, frozenset({"m"})), Worker(1, frozenset({"m"}))
    scheduler = scheduler_with(*(make_entry() for _ in range(4)), max_batch_items=1)
    assert taken(scheduler, busy, idle)
    assert taken(scheduler, idle, busy)
    gone = make_entry(deaths=1)
    scheduler.queue.add(gone)
    assert not taken(scheduler, busy, idle), "it becomes empty for the suspect"
    gone.future.cancel()
    assert taken(scheduler, busy, idle)
    assert scheduler._suspects.emptied is None


async def test_only_the_thread_that_computes_can_say_that_nothing_hangs(make_entry: MakeEntry) -> None:
    entries = [make_entry(operation=fake_operation(f"fake.{number}")) for number in range(2)]
    scheduler, worker = scheduler_with(*entries), Worker(0)
    hung, decoding = (dispatched(scheduler, worker) for _ in range(2))
    assert hung
    assert decoding
    scheduler.left_s(worker.id)
    assert hung.watched_since is not None
    scheduler.note_progress(worker.id, GoesOn(decoding.id, computes=False))
    assert hung.watched_since is not None
    scheduler.note_progress(worker.id, GoesOn(decoding.id, computes=True))
    assert hung.watched_since is None
