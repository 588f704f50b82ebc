"""Jobs of several models, and what is expected of them."""

from __future__ import annotations

from tests.pool.conftest import MakeEntry
from tests.pool.entries import Worker, dispatched, scheduler_with, taken
from tests.pool.fakes import FakeParams


async def test_one_that_waits_for_a_worker_with_all_its_models_holds_up_no_other(
    make_entry: MakeEntry,
) -> None:
    both, one = Worker(0, frozenset({"m", "n"})), Worker(1, frozenset({"m"}))
    scheduler = scheduler_with(*(make_entry(model=model) for model in ("n", "m")), max_batch_items=1)
    assert dispatched(scheduler, both, one)
    assert dispatched(scheduler, one, both)
    composed, plain = make_entry(also=("n",), params=FakeParams(most=99), due=50.0), make_entry(due=100.0)
    for entry in (composed, plain):
        scheduler.admit(entry, workers=2)
    assert taken(scheduler, one, both) == [plain]
    assert taken(scheduler, both, one) == [composed]


async def test_an_estimate_looks_at_the_workers_that_take_work(make_entry: MakeEntry) -> None:
    scheduler = scheduler_with()
    scheduler._costs.learn(make_entry().cost_key, 60.0)
    scheduler.admit(make_entry(), workers=1)
    assert dispatched(scheduler, Worker(0))
    scheduler.add_worker(1)
    scheduler.set_models(1, frozenset({"m"}))
    found = scheduler.forecast.of(make_entry(), [0])
    assert found.wait_s > 1.0
    assert not found.model_loaded
    beside = scheduler.forecast.of(make_entry(), [0, 1])
    assert beside.wait_s == 0.0
    assert beside.model_loaded
