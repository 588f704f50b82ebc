"""Whom a worker has nothing of finds a place beside busy callers, and goes before what the worker has not begun."""

from __future__ import annotations

import pytest

from featsvc.pool.scheduling.scheduler import Scheduler
from tests.pool.conftest import MakeEntry
from tests.pool.entries import Worker, dispatched, scheduler_with, taken
from tests.pool.fakes import FakeParams
from tests.pool.scheduling.simulation import caller

FLOOD, OTHER, THIRD = caller("flood"), caller("other"), caller("third")
WORKER = Worker(0)


def filled(scheduler: Scheduler, *others: Worker) -> Scheduler:
    """The same, where the places of the worker are taken."""
    while dispatched(scheduler, WORKER, *others):
        pass
    return scheduler


async def test_a_guest_is_sent_to_a_worker_whose_places_a_busy_caller_has_taken(
    make_entry: MakeEntry,
) -> None:
    scheduler = filled(scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9))))
    guest = make_entry(caller=OTHER, params=FakeParams(most=1))
    scheduler.admit(guest, workers=1)
    batch = scheduler.dispatch([WORKER.id])
    assert batch is not None
    assert [*batch.entries.values()] == [guest]
    assert batch.goes_first
    assert batch.message()[0].goes_first


async def test_there_is_one_place_for_guests_and_none_for_who_has_something_at_work(
    make_entry: MakeEntry,
) -> None:
    scheduler = filled(scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9))))
    assert scheduler.dispatch([WORKER.id]) is None
    for each in (OTHER, OTHER, THIRD):
        scheduler.admit(make_entry(caller=each), workers=1)
    guests = scheduler.dispatch([WORKER.id])
    assert guests is not None
    assert {entry.flow for entry in guests.entries.values()} == set(
        map(scheduler.queue.flows.of, (OTHER, THIRD))
    )
    assert scheduler.dispatch([WORKER.id]) is None
    scheduler.admit(make_entry(caller=caller("fourth")), workers=1)
    assert scheduler.dispatch([WORKER.id]) is None, "the place for guests is taken"


@pytest.mark.parametrize("has_free_place", [False, True])
async def test_a_guest_shares_no_batch_with_the_flood_though_it_asks_the_same(
    make_entry: MakeEntry, has_free_place: bool
) -> None:
    scheduler = scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9)))
    if has_free_place:
        dispatched(scheduler, WORKER)
    else:
        filled(scheduler)
    guest, late = make_entry(caller=OTHER), make_entry(caller=THIRD)
    for each in (guest, late):
        scheduler.admit(each, workers=1)
    late.flow.served_s = 100.0  # it has had more than the flood
    scheduler.queue.flows.waiting.sort(key=lambda flow: flow.turn)
    batch = scheduler.dispatch([WORKER.id])
    assert batch is not None
    assert [*batch.entries.values()] == [guest, late]
    assert batch.goes_first


async def test_there_is_a_place_for_guests_where_all_places_are_those_of_one_family(
    make_entry: MakeEntry,
) -> None:
    flood = [make_entry(caller=FLOOD, params=FakeParams(most=number)) for number in range(9)]
    scheduler = filled(scheduler_with(*flood, slots=4, max_concurrency=4))
    assert len(scheduler.in_flight(WORKER.id).batches) == 4
    guest = make_entry(caller=OTHER)
    scheduler.admit(guest, workers=1)
    batch = scheduler.dispatch([WORKER.id])
    assert batch is not None
    assert [*batch.entries.values()] == [guest]


async def test_a_flood_is_busy_also_where_it_fills_up_batches_of_another(make_entry: MakeEntry) -> None:
    params = [FakeParams(most=number) for number in range(2)]
    others = [make_entry(caller=caller(f"{each.most}"), params=each) for each in params]
    flood = [make_entry(caller=FLOOD, params=params[number % 2]) for number in range(4)]
    scheduler = filled(scheduler_with(*others, *flood))
    batches = scheduler.in_flight(WORKER.id).batches.values()
    assert [batch.flow is other.flow for batch, other in zip(batches, others, strict=True)] == [True, True]
    scheduler.admit(make_entry(caller=OTHER), workers=1)
    assert scheduler.dispatch([WORKER.id])


async def test_who_overtakes_no_busy_caller_does_not_go_first(make_entry: MakeEntry) -> None:
    entries = [make_entry(caller=caller(f"{number}")) for number in range(9)]
    scheduler = scheduler_with(*entries)
    first, second = dispatched(scheduler, WORKER), dispatched(scheduler, WORKER)
    assert first is not None
    assert second is not None
    assert not second.goes_first, "it is prepared as others are"


async def test_callers_of_one_request_each_share_batches_and_take_no_places_of_guests(
    make_entry: MakeEntry,
) -> None:
    entries = [make_entry(caller=caller(f"{number}")) for number in range(9)]
    scheduler = scheduler_with(*entries)
    first, second = taken(scheduler, WORKER), taken(scheduler, WORKER)
    assert (len(first), len(second)) == (3, 3)
    assert scheduler.dispatch([WORKER.id]) is None, "nobody keeps them from their turn"


async def test_a_guest_waits_for_its_turn(make_entry: MakeEntry) -> None:
    scheduler = filled(scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9))))
    late = make_entry(caller=OTHER)
    scheduler.admit(late, workers=1)
    late.flow.served_s = 100.0  # it has had much, and what it had at work is answered
    scheduler.queue.flows.waiting.sort(key=lambda flow: flow.turn)
    assert scheduler.dispatch([WORKER.id]) is None


async def test_a_worker_that_is_to_leave_takes_no_guests(make_entry: MakeEntry) -> None:
    scheduler = filled(scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9))))
    scheduler.retire_worker(WORKER.id)
    scheduler.admit(make_entry(caller=OTHER), workers=1)
    assert scheduler.dispatch([WORKER.id]) is None


async def test_what_finds_its_worker_idle_goes_before_nothing(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(*(make_entry(caller=FLOOD) for _ in range(3)))
    batch = dispatched(scheduler, WORKER)
    assert batch is not None
    assert not batch.goes_first
