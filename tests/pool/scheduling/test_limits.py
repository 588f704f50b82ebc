"""Who may wait, who gives way, and when those find a place who come back as they were told."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.contract.return_times import GRACE_S, MOST, ReturnTimes
from featsvc.work.caller import Caller
from tests.pool.conftest import MakeEntry
from tests.pool.entries import scheduler_with
from tests.pool.scheduling.simulation import Simulation, caller

FLOOD, OTHER = caller("flood"), caller("other")


async def test_the_newest_of_a_flood_gives_way_to_a_caller_that_has_less(make_entry: MakeEntry) -> None:
    flood = [make_entry(caller=FLOOD, due=due) for due in (100, 90, 95)]
    scheduler = scheduler_with(*flood, max_queued=3)
    first = make_entry(caller=OTHER)
    ((gone, error),) = scheduler.admit(first, workers=1)
    assert gone is flood[-1]
    assert not gone.is_waiting
    assert "(--max-queue, --max-queue-bytes), with 2 requests of this key, which is more" in error.message
    assert error.retry_after_ms >= 100
    with pytest.raises(
        Overloaded, match=r"3 requests are waiting, at most 3 \(--max-queue\), 1 of them of this"
    ):
        scheduler.admit(make_entry(caller=OTHER), workers=1)
    with pytest.raises(Overloaded, match="2 of them of this key"):
        scheduler.admit(make_entry(caller=FLOOD), workers=1)
    assert scheduler.queue.count == 3


async def test_as_many_bytes_of_a_flood_give_way_as_a_caller_with_less_needs(make_entry: MakeEntry) -> None:
    flood = [make_entry(caller=FLOOD, nbytes=30) for _ in range(3)]
    scheduler = scheduler_with(*flood, max_queued_bytes=100)
    leaving = scheduler.admit(make_entry(caller=OTHER, nbytes=40), workers=1)
    assert [entry for entry, _ in leaving] == flood[-1:]
    with pytest.raises(
        Overloaded, match=r"100 bytes are waiting, at most 100 \(--max-queue-bytes\), 40 of them"
    ):
        scheduler.admit(make_entry(caller=OTHER, nbytes=40), workers=1)
    assert scheduler.queue.nbytes == 100


async def test_who_is_refused_when_announced_has_used_its_time(
    make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(caller=FLOOD)
    scheduler = scheduler_with(entry, max_queued=1)
    times, now = entry.flow.return_times, time.monotonic()
    assert times.next(now - 1.0, 0.5, 0.5) < now
    with pytest.raises(Overloaded):
        scheduler.limits.check_room(FLOOD, 1, 0, workers=1)
    assert len(times) == 1, "the one that it was told now"
    assert not times.is_due(now)
    scheduler.queue.remove(entry)
    assert times.next(now + 1.0, 0.0, 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: now + 4.0)
    held = len(times)
    scheduler.limits.check_room(FLOOD, 1, 0, workers=1)
    assert len(times) == held, "its message will use it"


@pytest.mark.parametrize(
    ("own_most", "most", "words"),
    [
        (3, 9, r"3 requests of this key .* at most 3 \(max_queue_per_key\)"),
        (0, 3, r"at most 3 \(--max-queue\)"),
    ],
)
async def test_what_was_announced_has_a_place_where_another_is_announced(
    make_entry: MakeEntry, own_most: int, most: int, words: str
) -> None:
    flood = caller("flood", max_queue_per_key=own_most)
    scheduler = scheduler_with(make_entry(caller=flood), max_queued=most)
    scheduler.limits.check_room(flood, 1, 1, workers=1)
    with pytest.raises(Overloaded, match=words):
        scheduler.limits.check_room(flood, 1, 2, workers=1)


async def test_who_is_refused_all_the_same_drives_nobody_out(make_entry: MakeEntry) -> None:
    flood = [make_entry(caller=FLOOD, nbytes=10) for _ in range(3)]
    scheduler = scheduler_with(*flood, max_queued_bytes=30)
    with pytest.raises(Overloaded):
        scheduler.admit(make_entry(caller=OTHER, nbytes=29), workers=1)
    assert scheduler.queue.count == 3


async def test_a_caller_of_twice_the_weight_holds_twice_the_places(make_entry: MakeEntry) -> None:
    heavy = caller("heavy", weight=2.0)
    scheduler = scheduler_with(*(make_entry(caller=FLOOD) for _ in range(9)), max_queued=9)
    while True:
        try:
            scheduler.admit(make_entry(caller=heavy), workers=1)
        except Overloaded:
            break
    assert [len(flow.entries) for flow in scheduler.queue.flows.waiting] == [3, 6]


async def test_a_key_has_limits_of_its_own(make_entry: MakeEntry) -> None:
    few, small = caller("few", max_queue_per_key=2), caller("small", max_queue_bytes_per_key=50)
    scheduler = scheduler_with(
        *(make_entry(caller=few) for _ in range(2)), make_entry(caller=small, nbytes=40)
    )
    with pytest.raises(
        Overloaded, match=r"2 requests of this key are waiting, at most 2 \(max_queue_per_key\)"
    ):
        scheduler.admit(make_entry(caller=few), workers=1)
    with pytest.raises(
        Overloaded, match=r"40 bytes of this key are waiting, at most 50 \(max_queue_bytes_per_key\)"
    ):
        scheduler.admit(make_entry(caller=small, nbytes=11), workers=1)
    scheduler.admit(make_entry(caller=OTHER, nbytes=1000), workers=1)


async def test_a_key_has_so_many_seconds_of_workers_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation, told = Simulation(monkeypatch), list[Overloaded]()
    frugal = caller("frugal", worker_seconds_per_key=6.0)

    def again() -> None:
        simulation.ask(frugal, 0.5, done=again, refused=refused)

    def refused(error: Overloaded) -> None:
        told.append(error)
        simulation.at(simulation.now + error.retry_after_ms / 1000, again)

    for _ in range(5):
        again()
    simulation.run(600)
    assert simulation.served_s["frugal"] == pytest.approx(66, abs=4), "6 at once, and as many in each minute"
    assert "had its 6 s of the workers in a minute (worker_seconds_per_key)" in told[0].message
    assert len(told) < 1.2 * 66 / 0.5, "who comes back when it was told is let in"


def kept_promises(simulation: Simulation, load: Callable[[Callable[[Caller, float], None]], None]) -> float:
    """The part of those that was let in that came back when it was told, where `load` asks."""
    came_back, let_in = 0, 0

    def ask(who: Caller, cost_s: float) -> None:
        def refused(error: Overloaded) -> None:
            simulation.at(simulation.now + error.retry_after_ms / 1000, come_back)

        def come_back() -> None:
            nonlocal came_back, let_in
            came_back, let_in, before = came_back + 1, let_in + 1, simulation.scheduler.queue.count
            simulation.ask(who, cost_s, refused=refused_again)
            assert simulation.scheduler.queue.count <= max(before + 1, 64)

        def refused_again(error: Overloaded) -> None:
            nonlocal let_in
            let_in -= 1
            refused(error)

        simulation.ask(who, cost_s, refused=refused)

    load(ask)
    simulation.run(2000)
    assert came_back > 100
    return let_in / came_back


@pytest.mark.parametrize("workers", [1, 3])
async def test_nine_of_ten_who_come_back_as_told_find_a_place_after_a_rush(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    simulation = Simulation(monkeypatch, workers, max_queued=64)

    def rush(ask: Callable[[Caller, float], None]) -> None:
        for number in range(700):
            # Some come first, of which it learns what they cost.
            after_s = number * 0.25 / workers if number < 100 else 50 + number * 0.001
            simulation.at(simulation.now + after_s, partial(ask, FLOOD, 0.3))

    assert kept_promises(simulation, rush) >= 0.9


async def test_they_find_it_beside_others_and_while_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, max_queued=64)

    def flood(ask: Callable[[Caller, float], None]) -> None:
        for number in range(900):
            # A little more than a worker does, in requests that cost differently, from the first second to the last.
            cost_s = (0.1, 0.2, 0.3)[number % 3]
            simulation.at(simulation.now + number * 0.15, partial(ask, FLOOD, cost_s))
            simulation.at(simulation.now + number * 0.5, partial(ask, OTHER, 0.02))

    assert kept_promises(simulation, flood) >= 0.9


async def test_what_was_held_for_those_who_do_not_come_back_is_given_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation, refused = Simulation(monkeypatch, max_queued=8), list[Overloaded]()
    for _ in range(100):
        simulation.ask(FLOOD, 1.0, refused=refused.append)
    assert len(refused) > 80
    simulation.run(600)
    before = len(refused)
    for _ in range(8):
        simulation.ask(FLOOD, 1.0, refused=refused.append)
    assert len(refused) == before


def test_times_to_come_back_lie_apart_and_are_bounded() -> None:
    times = ReturnTimes()
    assert [times.next(10.0, 1.0, 0.5) for _ in range(3)] == [11.0, 11.5, 12.0]
    assert not times.came_back(10.9)
    assert times.came_back(11.0)
    assert times.held(11.0) == 2
    assert times.held(11.6 + GRACE_S) == 1
    for _ in range(2 * MOST):
        last = times.next(20.0, 1.0, 1.0)
    assert len(times) == MOST
    assert last <= 20.0 + 600.0
