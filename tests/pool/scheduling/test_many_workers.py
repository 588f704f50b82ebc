"""What is looked at for a request does not grow with the workers and callers that have nothing to do with it."""

from __future__ import annotations

import random
from collections.abc import Collection

import pytest

from featsvc.pool.scheduling.flows import CallerFlow, Turns
from featsvc.pool.scheduling.in_flight import Batch
from tests.pool.conftest import MakeEntry
from tests.pool.entries import completed, scheduler_with

WORKERS = range(64)


async def test_only_workers_with_a_free_place_are_asked(
    make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = scheduler_with(*(make_entry() for _ in range(1000)), max_queued=2000)
    for worker in WORKERS:
        scheduler.add_worker(worker)
        scheduler.set_models(worker, frozenset({"m"}))
    batches = []
    while batch := scheduler.dispatch(WORKERS):
        batches.append(batch)
    assert len(batches) == 2 * len(WORKERS)
    asked: list[int] = []
    next_batch = scheduler.next_batch

    def noted(worker: int, alive: Collection[int]) -> Batch | None:
        asked.append(worker)
        return next_batch(worker, alive)

    monkeypatch.setattr(scheduler, "next_batch", noted)
    assert scheduler.dispatch(WORKERS) is None
    assert asked == []
    completed(scheduler, batches[5])
    batch = scheduler.dispatch(WORKERS)
    assert batch
    assert asked == [batch.worker] == [batches[5].worker]


async def test_nothing_is_kept_of_workers_that_have_gone(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with(*(make_entry() for _ in range(20)))
    scheduler.add_worker(0)
    batch = scheduler.dispatch([0])
    assert batch
    scheduler.retire_worker(0)
    assert scheduler.dispatch([0]) is None
    completed(scheduler, batch)
    assert scheduler.dispatch([0]) is None
    scheduler.remove_worker(0)
    assert not scheduler._full


def test_turns_come_as_if_all_were_compared_each_time() -> None:
    chance = random.Random(3)
    flows = [CallerFlow(number, served_s=chance.random()) for number in range(50)]
    waiting = dict.fromkeys(flows)
    turns = Turns(flows)
    for _ in range(500):
        flow = turns.next(waiting)
        assert flow is min(waiting, key=lambda each: each.turn)
        flow.served_s += chance.choice([0.0, 0.01, 0.3])
        if chance.random() < 0.05:
            del waiting[chance.choice(list(waiting))]
