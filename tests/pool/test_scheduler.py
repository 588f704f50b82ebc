"""Which batch a worker gets, decided without any process."""

from __future__ import annotations

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.scheduler import Berth
from featsvc.pool.waiting import Batch, Waiting
from tests.pool.conftest import MakeEntry
from tests.pool.entries import scheduler_with, taken
from tests.pool.fakes import FakeParams


async def test_a_batch_is_what_waits_now_with_the_same_operation_model_and_params(
    make_entry: MakeEntry,
) -> None:
    alike = [make_entry(), make_entry(params=FakeParams())]
    different = [
        make_entry(operation="fake.other"),
        make_entry(model="n"),
        make_entry(params=FakeParams(most=7)),
        make_entry(service="other"),
    ]
    scheduler = scheduler_with(alike[0], *different, alike[1])
    assert taken(scheduler, Berth(0)) == alike
    assert scheduler.waiting.count == len(different)


async def test_the_oldest_deadline_comes_first_and_ties_go_by_arrival(make_entry: MakeEntry) -> None:
    late, soon, soon_too = make_entry(due=30), make_entry(due=10), make_entry(due=10)
    scheduler = scheduler_with(late, soon, soon_too, max_batch_items=2)
    assert taken(scheduler, Berth(0)) == [soon, soon_too]


async def test_the_group_of_the_oldest_deadline_comes_first(make_entry: MakeEntry) -> None:
    many = [make_entry(due=20) for _ in range(3)]
    urgent = make_entry(due=10, params=FakeParams(most=7))
    scheduler = scheduler_with(*many, urgent)
    assert taken(scheduler, Berth(0)) == [urgent]


async def test_a_batch_has_at_most_so_many_items(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(*(make_entry() for _ in range(7)))
    assert len(taken(scheduler, Berth(0))) == 3


async def test_an_operation_may_have_its_own_limit(make_entry: MakeEntry) -> None:
    entries = [make_entry(operation="fake.small") for _ in range(9)]
    scheduler = scheduler_with(*entries, make_entry(), batch_items={"fake.small": 7})
    assert taken(scheduler, Berth(0)) == entries[:7]


async def test_a_worker_carries_one_batch_in_compute_and_one_in_preparation(make_entry: MakeEntry) -> None:
    scheduler, berth = scheduler_with(*(make_entry() for _ in range(9))), Berth(0)
    batches = [scheduler.next_batch(berth, [berth]) for _ in range(3)]
    assert [batch is not None for batch in batches] == [True, True, False]
    assert batches[0] is not None
    scheduler.close(berth, batches[0])
    assert taken(scheduler, berth)


async def test_a_service_has_at_most_so_many_batches_at_workers(make_entry: MakeEntry) -> None:
    other = make_entry(service="other", due=500)
    scheduler = scheduler_with(*(make_entry() for _ in range(9)), other, max_concurrency=1)
    first, second = Berth(0), Berth(1)
    batch = scheduler.next_batch(first, [first, second])
    assert batch is not None
    assert batch.job.service == "fake"
    assert taken(scheduler, second, first) == [other]
    assert not taken(scheduler, second, first)
    scheduler.close(first, batch)
    assert len(taken(scheduler, second, first)) == 3


async def test_a_worker_prefers_a_model_that_it_has(make_entry: MakeEntry) -> None:
    first, loaded = make_entry(model="n", due=10.0), make_entry(model="m", due=10.5)
    assert taken(scheduler_with(first, loaded), Berth(0, frozenset({"m"}))) == [loaded]


async def test_a_model_that_waits_too_long_is_loaded_all_the_same(make_entry: MakeEntry) -> None:
    first, loaded = make_entry(model="n", due=10.0), make_entry(model="m", due=12.0)
    assert taken(scheduler_with(first, loaded), Berth(0, frozenset({"m"}))) == [first]


async def test_a_job_goes_to_the_idle_worker_that_has_its_model(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    empty, holder = Berth(0), Berth(1, frozenset({"m"}))
    assert not taken(scheduler, empty, holder)
    assert taken(scheduler, holder, empty)


async def test_an_idle_worker_loads_a_model_whose_holders_are_busy(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    holder, idle = Berth(1, frozenset({"m"})), Berth(0)
    assert taken(scheduler, holder, idle)
    wanted = make_entry(model="m")
    scheduler.waiting.add(wanted)
    assert taken(scheduler, idle, holder) == [wanted]


async def test_a_busy_worker_loads_no_second_copy_of_a_model(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(make_entry(model="m"))
    holder, busy = Berth(1, frozenset({"m"})), Berth(0)
    assert taken(scheduler, holder, busy)
    scheduler.waiting.add(make_entry(model="n"))
    assert taken(scheduler, busy, holder)
    scheduler.waiting.add(make_entry(model="m"))
    assert not taken(scheduler, busy, holder)


async def test_a_suspect_runs_alone_on_an_empty_worker(make_entry: MakeEntry) -> None:
    scheduler, berth = scheduler_with(make_entry()), Berth(0)
    batch = scheduler.next_batch(berth, [berth])
    assert batch is not None
    suspects = [make_entry(deaths=1), make_entry(deaths=1)]
    for entry in [*suspects, make_entry()]:
        scheduler.waiting.add(entry)
    assert not taken(scheduler, berth), (
        "no suspect beside a batch, and nothing else that would keep it waiting"
    )
    scheduler.close(berth, batch)
    alone = scheduler.next_batch(berth, [berth])
    assert alone is not None
    assert list(alone.entries.values()) == suspects[:1]
    scheduler.waiting.remove(suspects[1])
    assert not taken(scheduler, berth), "nothing beside a suspect"
    scheduler.close(berth, alone)
    assert taken(scheduler, berth)


async def test_a_suspect_whose_caller_has_gone_holds_nothing_up(make_entry: MakeEntry) -> None:
    gone, waits = make_entry(deaths=1), make_entry()
    scheduler = scheduler_with(gone, waits)
    gone.future.cancel()
    assert taken(scheduler, Berth(0)) == [waits]
    assert scheduler.waiting.count == 0


async def test_jobs_whose_callers_have_gone_are_dropped(make_entry: MakeEntry) -> None:
    entries = [make_entry() for _ in range(3)]
    scheduler = scheduler_with(*entries, make_entry(due=900))
    for entry in entries:
        entry.future.cancel()
    assert len(taken(scheduler, Berth(0))) == 1
    assert scheduler.waiting.count == 0


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
    assert (scheduler.waiting.count, scheduler.waiting.nbytes) == (2, 100)


async def test_one_job_larger_than_the_queue_is_taken_when_nothing_waits(make_entry: MakeEntry) -> None:
    assert scheduler_with(make_entry(nbytes=101), max_queued_bytes=100).waiting.nbytes == 101


async def test_the_time_to_come_back_grows_with_the_queue(make_entry: MakeEntry) -> None:
    def refusal(queued: int) -> int:
        scheduler = scheduler_with(*(make_entry() for _ in range(queued)), max_queued=queued)
        with pytest.raises(Overloaded) as caught:
            scheduler.admit(make_entry(), workers=2)
        return caught.value.retry_after_ms

    assert refusal(200) > refusal(20)


async def test_entries_that_leave_early_do_not_pile_up(make_entry: MakeEntry) -> None:
    waiting, keeper = Waiting(), make_entry(due=1e9)
    waiting.add(keeper)
    for number in range(1000):
        entry = make_entry(due=float(number))
        waiting.add(entry)
        waiting.remove(entry)
    lines = [*waiting._topics.values(), *waiting._rows.values(), *waiting._companies.values()]
    assert len(lines) == 3
    assert all(len(line._heap) < 100 for line in lines)
    assert waiting.take(next(waiting.heads(0)), 10) == [keeper]
    assert (waiting.count, waiting.nbytes) == (0, 0)
    assert (waiting._topics, waiting._rows, waiting._companies) == ({}, {}, {})


async def test_a_retried_entry_is_not_found_in_its_old_place(make_entry: MakeEntry) -> None:
    entry, other = make_entry(due=1), make_entry(due=2)
    scheduler, berth = scheduler_with(entry, other, max_batch_items=1), Berth(0)
    batch: Batch | None = scheduler.next_batch(berth, [berth])
    assert batch is not None
    scheduler.close(berth, batch)
    entry.deaths = 1
    scheduler.waiting.add(entry)
    assert taken(scheduler, berth) == [entry]
    berth.batches.clear()
    assert taken(scheduler, berth) == [other]
    assert not scheduler.waiting.count
