"""Callers take turns by what their requests cost, whatever one of them asks for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.contract.messages import GoesOn
from featsvc.pool.scheduling import flows
from featsvc.pool.scheduling import scheduler as scheduler_module
from featsvc.pool.scheduling.flows import MOST_FLOWS
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.scheduling.scheduler import Scheduler
from featsvc.work.caller import Caller
from tests.pool.conftest import MakeEntry
from tests.pool.entries import Worker, completed, dispatched, scheduler_with, taken
from tests.pool.fakes import FakeParams
from tests.pool.jobs import fake_operation
from tests.pool.scheduling.simulation import Simulation, caller

FLOOD, OTHER = caller("flood"), caller("other")


def keeps_asking(simulation: Simulation, who: Caller, cost_s: float, at_once: int) -> None:
    """A caller that always has so many requests waiting or at work."""

    def again() -> None:
        simulation.ask(who, cost_s, done=again)

    for _ in range(at_once):
        again()


def others_come(scheduler: Scheduler) -> None:
    """So many other callers that some are forgotten."""
    for number in range(2 * MOST_FLOWS):
        scheduler.queue.flows.of(caller(f"{number}"))


async def test_a_flood_with_short_deadlines_does_not_keep_another_waiting(make_entry: MakeEntry) -> None:
    flood = [make_entry(due=20, caller=FLOOD) for _ in range(64)]
    other = make_entry(due=60, caller=OTHER)
    scheduler = scheduler_with(*flood, other, max_batch_items=1)
    worker = Worker(0)
    order = list[QueueEntry]()
    while batch := dispatched(scheduler, worker):
        order += batch.entries.values()
        completed(scheduler, batch)
    assert order.index(other) <= 1
    assert len(order) == 65


async def test_within_one_caller_the_oldest_deadline_comes_first(make_entry: MakeEntry) -> None:
    late, soon = make_entry(due=30, caller=FLOOD), make_entry(due=10, caller=FLOOD)
    scheduler = scheduler_with(late, soon, max_batch_items=1)
    assert taken(scheduler, Worker(0)) == [soon]


async def test_within_one_caller_the_highest_priority_comes_before_every_deadline(
    make_entry: MakeEntry,
) -> None:
    usual, later = make_entry(due=10, caller=FLOOD), make_entry(due=1, caller=FLOOD, priority=-1)
    urgent = make_entry(due=90, caller=FLOOD, priority=2, params=FakeParams(most=7))
    scheduler = scheduler_with(later, usual, urgent, max_batch_items=1)
    worker, order = Worker(0), list[QueueEntry]()
    while batch := dispatched(scheduler, worker):
        order += batch.entries.values()
        completed(scheduler, batch)
    assert order == [urgent, usual, later]


@pytest.mark.parametrize("deaths", [0, 1])
async def test_a_priority_counts_for_nothing_beside_other_callers(make_entry: MakeEntry, deaths: int) -> None:
    """Of suspects, which wait in one list, the oldest deadline comes first; else it is the turn that counts."""
    urgent = [make_entry(due=30, caller=FLOOD, priority=9, deaths=deaths) for _ in range(4)]
    other = make_entry(due=20, caller=OTHER, priority=-9, deaths=deaths)
    scheduler = scheduler_with(*urgent, other, max_batch_items=1)
    worker, order = Worker(0), list[QueueEntry]()
    while batch := dispatched(scheduler, worker):
        order += batch.entries.values()
        completed(scheduler, batch)
    assert order.index(other) == (0 if deaths else 1)


@pytest.mark.parametrize(("weight", "ratio"), [(1.0, 1.0), (3.0, 3.0), (0.5, 0.5)])
async def test_callers_get_seconds_of_workers_by_their_weights_and_not_answers(
    monkeypatch: pytest.MonkeyPatch, weight: float, ratio: float
) -> None:
    simulation = Simulation(monkeypatch)
    keeps_asking(simulation, caller("flood", weight=weight), 2.0, at_once=40)
    keeps_asking(simulation, OTHER, 0.05, at_once=10)
    simulation.run(400)
    served = simulation.served_s
    assert sum(served.values()) > 390
    assert served["flood"] / served["other"] == pytest.approx(ratio, rel=0.05)


async def test_several_workers_are_shared_as_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, workers=3)
    for number, cost_s in enumerate((0.05, 0.3, 2.0)):
        keeps_asking(simulation, caller(f"{number}"), cost_s, at_once=60)
    simulation.run(200)
    shares = [seconds / sum(simulation.served_s.values()) for seconds in simulation.served_s.values()]
    assert shares == pytest.approx([1 / 3] * 3, rel=0.05)


async def test_a_caller_that_comes_back_has_neither_claims_nor_debts(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch)
    keeps_asking(simulation, FLOOD, 1.0, at_once=20)
    simulation.run(1000)
    before = simulation.served_s["flood"]
    keeps_asking(simulation, OTHER, 1.0, at_once=20)
    simulation.run(100)
    assert simulation.served_s["other"] == pytest.approx(50, abs=6)
    assert simulation.served_s["flood"] - before == pytest.approx(50, abs=6)


async def test_small_requests_are_answered_beside_a_flood_of_any_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation, waited = Simulation(monkeypatch), list[float]()
    for cost_s in (0.01, 0.5, 3.0):
        keeps_asking(simulation, FLOOD, cost_s, at_once=60)

    def ask() -> None:
        began = simulation.now
        simulation.ask(OTHER, 0.02, done=lambda: waited.append(simulation.now - began), due=began + 3000)

    for number in range(200):
        simulation.at(simulation.now + 2.5 * number, ask)
    simulation.run(600)
    assert len(waited) == 200
    # Two batches are at the worker already, and may be such as take longest; it pauses for what is short.
    assert max(waited) <= 2 * 4 * 3.0 + 0.1


async def test_a_batch_joins_requests_of_several_callers_and_each_pays_its_own(make_entry: MakeEntry) -> None:
    flood = [make_entry(caller=FLOOD) for _ in range(6)]
    others = [make_entry(caller=OTHER) for _ in range(2)]
    scheduler = scheduler_with(*flood, *others, max_batch_items=4)
    assert taken(scheduler, Worker(0)) == [flood[0], others[0], flood[1], others[1]]
    flows = [each.flow for each in (flood[0], others[0])]
    assert flows[0].served_s == pytest.approx(flows[1].served_s) == pytest.approx(2 * flood[0].cost_s)


async def test_what_never_reached_a_worker_costs_nothing(make_entry: MakeEntry) -> None:
    entry = make_entry(caller=OTHER)
    scheduler = scheduler_with(entry)
    assert taken(scheduler, Worker(0))
    assert entry.flow.served_s > 0
    scheduler.dropped(entry)
    assert entry.flow.served_s == 0


async def test_what_fails_is_charged_what_it_took_and_teaches_no_less(make_entry: MakeEntry) -> None:
    entries = [make_entry(caller=FLOOD) for _ in range(3)]
    scheduler = scheduler_with(*entries)
    assert taken(scheduler, Worker(0)) == entries
    for entry, cost_s in zip(entries, (6.0, 0.25, 0.0), strict=True):
        scheduler.completed(entry, cost_s, has_result=False)
    assert entries[0].flow.served_s == pytest.approx(6.25)
    alike = make_entry(caller=OTHER)
    scheduler.admit(alike, workers=1)
    assert alike.cost_s == 6.0


async def test_the_group_of_a_caller_that_has_just_gone_is_left_to_the_others(make_entry: MakeEntry) -> None:
    gone, *others = (make_entry(caller=caller(str(number))) for number in range(3))
    scheduler = scheduler_with(gone, *others)
    gone.future.cancel()
    assert taken(scheduler, Worker(0)) == others


async def test_long_work_leaves_places_at_a_worker_for_what_is_short(make_entry: MakeEntry) -> None:
    masks = fake_operation("fake.masks")
    flood = [make_entry(operation=masks, caller=FLOOD, params=FakeParams(most=n)) for n in range(9)]
    scheduler, worker = scheduler_with(*flood, max_concurrency=9), Worker(0)
    while batch := dispatched(scheduler, worker):
        scheduler.note_progress(worker.id, GoesOn(batch.id, computes=True, takes_s=5.0))
    click = make_entry(operation=fake_operation("fake.click"), caller=OTHER)
    scheduler.admit(click, workers=1)
    assert taken(scheduler, worker) == [click]


async def test_of_what_is_known_to_take_long_one_is_computed_and_one_prepared(make_entry: MakeEntry) -> None:
    flood = [make_entry(caller=FLOOD) for _ in range(9)]
    scheduler, worker, count = scheduler_with(*flood, max_batch_items=1), Worker(0), 0
    while batch := dispatched(scheduler, worker):
        count += 1
        scheduler.note_progress(worker.id, GoesOn(batch.id, computes=True, takes_s=5.0))
    assert count == 2


async def test_what_goes_on_is_charged_before_it_ends(make_entry: MakeEntry) -> None:
    entry = make_entry(caller=FLOOD)
    scheduler = scheduler_with(entry)
    batch = dispatched(scheduler, Worker(0))
    assert batch
    scheduler.note_progress(0, GoesOn(batch.id, computes=True, takes_s=7.0))
    assert entry.flow.served_s == 7.0
    scheduler.completed(entry, 9.0)
    assert entry.flow.served_s == 9.0


async def test_callers_that_have_gone_are_forgotten_when_there_are_many(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with()
    for number in range(2 * MOST_FLOWS):
        entry = make_entry(caller=caller(f"{number}"))
        scheduler.admit(entry, workers=1)
        scheduler.queue.remove(entry)
    assert len(scheduler.queue.flows) <= MOST_FLOWS


async def test_who_has_something_at_work_is_not_forgotten_before_that_is_charged(
    make_entry: MakeEntry,
) -> None:
    entry = make_entry(caller=FLOOD)
    scheduler = scheduler_with(entry)
    assert taken(scheduler, Worker(0)) == [entry]

    others_come(scheduler)
    assert scheduler.queue.flows.of(FLOOD) is entry.flow
    scheduler.completed(entry, 9.0)
    others_come(scheduler)
    assert scheduler.queue.flows.of(FLOOD) is not entry.flow


async def test_who_has_used_its_limit_for_a_minute_is_not_forgotten_within_it(
    make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    for module in (flows, scheduler_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    frugal, scheduler = caller("frugal", worker_seconds_per_key=6.0), scheduler_with()

    entry = make_entry(caller=frugal)
    scheduler.admit(entry, workers=1)
    assert taken(scheduler, Worker(0)) == [entry]
    scheduler.completed(entry, 9.0)
    now += 20.0  # of the 9 s 2 are earned again
    others_come(scheduler)
    with pytest.raises(Overloaded, match="worker_seconds_per_key"):
        scheduler.admit(make_entry(caller=frugal), workers=1)
    now += 70.0
    others_come(scheduler)
    assert scheduler.queue.flows.of(frugal) is not entry.flow
