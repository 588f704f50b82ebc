"""What requests are taken to cost, by what others have cost."""

from __future__ import annotations

import pytest

from featsvc.pool.scheduling.costs import FIRST_S, MOST_KINDS, CostKey, Costs
from tests.pool.conftest import MakeEntry
from tests.pool.entries import Worker, scheduler_with, taken
from tests.pool.fakes import FakeParams


def test_costs_are_learned_by_what_can_be_known_of_a_request() -> None:
    costs = Costs()
    small = CostKey("rpc", "m", 1, 10, is_known=False)
    known = CostKey("rpc", "m", 1, 10, is_known=True)
    costs.learn(small, 2.0)
    assert costs.expected(small) == costs.expected(known) == 2.0
    costs.learn(known, 0.1)
    assert costs.expected(known) == pytest.approx(0.1)
    for _ in range(40):
        costs.learn(small, 1.0)
    assert costs.expected(small) == pytest.approx(1.0, rel=0.01)
    costs.learn_least(small, 0.5)
    assert costs.expected(small) == pytest.approx(1.0, rel=0.01)
    costs.learn_least(small, 8.0)
    assert costs.expected(small) == 8.0


def test_what_a_worker_knows_is_not_priced_as_what_it_does_not() -> None:
    costs = Costs()
    costs.learn(CostKey("rpc", "m", 1, 10, is_known=False), 60.0)
    cold, warm = CostKey("rpc", "m", 2, 10, is_known=False), CostKey("rpc", "m", 3, 10, is_known=True)
    assert (costs.expected(warm), costs.basis(warm)) == (FIRST_S, "assumed")
    for number in range(5):
        costs.learn(CostKey("rpc", "m", 10 + number, 10, is_known=True), 0.005)
    assert (costs.expected(cold), costs.basis(cold)) == (60.0, "same_model")
    assert costs.expected(warm) == pytest.approx(0.005)


def test_what_is_computed_from_several_pictures_costs_each_of_them() -> None:
    costs, one, several = (
        Costs(),
        CostKey("rpc", "m", 1, 1, is_known=False),
        CostKey("rpc", "m", 2, 1, is_known=False),
    )
    costs.learn(one, 2.0)
    assert (costs.expected(several), costs.expected(several, pictures=3)) == (2.0, 6.0)
    costs.learn(several, 9.0, pictures=3)
    assert costs.expected(several, pictures=3) == 9.0, "it is known now"
    assert costs.expected(CostKey("rpc", "m", 3, 1, is_known=False)) == 2.0, "of one picture it tells nothing"


async def test_of_several_about_the_same_pictures_the_first_pays_for_all(make_entry: MakeEntry) -> None:
    entries = [make_entry(affinity="these", pictures=3) for _ in range(3)]
    scheduler, worker = scheduler_with(*entries), Worker(0)
    beside = make_entry(affinity="these", pictures=3)
    assert taken(scheduler, worker) == entries
    scheduler.admit(beside, workers=1)
    assert taken(scheduler, worker) == [beside]
    scheduler.completed(entries[0], 0.1, has_result=False)
    for entry, cost_s in zip((*entries[1:], beside), (6.0, 2.0, 2.0), strict=True):
        scheduler.completed(entry, cost_s)
    others, same = make_entry(affinity="others", pictures=3), make_entry(affinity="these", pictures=3)
    ordinary = make_entry(params=FakeParams(most=7))
    for entry in (others, same, ordinary):
        scheduler.admit(entry, workers=1)
    assert (others.cost_s, same.cost_s, ordinary.cost_s) == (6.0, 2.0, FIRST_S)


def test_what_is_learned_is_bounded() -> None:
    costs = Costs()
    for number in range(3 * MOST_KINDS):
        costs.learn(CostKey("rpc", "m", number, 1, is_known=False), 1.0)
    assert len(costs._of_kinds) == MOST_KINDS
