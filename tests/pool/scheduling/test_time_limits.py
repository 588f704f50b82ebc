"""What is timed at a worker is what computes or is prepared there, and nothing that waits is refused for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from featsvc.errors import TookTooLong
from featsvc.pool.contract.messages import Computes, GoesOn
from featsvc.pool.scheduling.deaths import Deaths
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import QueueEntry
from tests.pool.conftest import MakeEntry
from tests.pool.entries import SETTINGS, Worker, completed, dispatched, scheduler_with
from tests.pool.fakes import FakeParams
from tests.pool.scheduling.simulation import Simulation

WORKER = Worker(0, frozenset({"m"}))
LIMIT_S = SETTINGS.batch_timeout_s


@dataclass
class Case:
    """A worker with some batches of one entry each, by a clock of its own."""

    clock: Simulation
    entries: list[QueueEntry]
    batches: list[Batch] = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = scheduler_with(*self.entries, slots=len(self.entries))
        self.deaths = Deaths(SETTINGS, self.scheduler, self.entries)
        batches = [dispatched(self.scheduler, WORKER) for _ in self.entries]
        self.batches = [batch for batch in batches if batch]

    def computes(self, number: int, *waiting: int) -> None:
        """The worker says which of them computes, and which wait for it."""
        ids = tuple(self.batches[each].id for each in waiting)
        self.scheduler.note_progress(WORKER.id, Computes(self.batches[number].id, ids))
        assert self.left_s(0) is not None  # as its handle asks after each message

    def left_s(self, passed_s: float) -> float | None:
        """What the worker still has, after so many seconds."""
        self.clock.run(passed_s)
        return self.scheduler.left_s(WORKER.id)

    def time_is_over(self) -> list[QueueEntry]:
        """The worker is killed for it; what is queued again."""
        self.deaths.too_long(WORKER.id)
        return self.deaths.died(WORKER.id, is_its_own=True)


@pytest.fixture
async def case(make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch) -> Case:
    entries = [make_entry(params=FakeParams(most=number)) for number in range(3)]
    return Case(Simulation(monkeypatch), entries)


async def test_what_hangs_is_refused_and_not_what_it_has_overtaken(case: Case) -> None:
    older, hung, _ = case.entries
    assert case.left_s(0) == LIMIT_S
    assert case.left_s(100) == LIMIT_S - 100
    case.computes(1, 0, 2)
    assert case.left_s(0) == LIMIT_S
    assert case.left_s(LIMIT_S) == 0
    assert case.time_is_over() == [older, case.entries[2]]
    assert isinstance(hung.future.exception(), TookTooLong)
    assert not older.future.done()


async def test_the_time_of_what_waits_begins_when_it_computes(case: Case) -> None:
    case.computes(1, 0, 2)
    assert case.left_s(LIMIT_S - 1) == 1
    case.computes(2, 0)
    assert case.left_s(LIMIT_S - 1) == 1
    completed(case.scheduler, case.batches[2])
    assert case.left_s(0) == LIMIT_S, "the oldest computes now, which the worker need not say"
    assert case.left_s(LIMIT_S) == 0
    case.time_is_over()
    assert isinstance(case.entries[0].future.exception(), TookTooLong)


async def test_what_hangs_in_its_preparation_is_noticed_though_others_compute(case: Case) -> None:
    assert case.left_s(0) == LIMIT_S
    for number in (1, 2, 1, 2):
        case.clock.run(LIMIT_S / 4)
        case.computes(number)
    assert case.left_s(0) == 0
    assert case.time_is_over() == case.entries, "nobody knows whether it only waited"


async def test_what_takes_long_to_prepare_is_not_refused_for_what_is_prepared_beside_it(case: Case) -> None:
    case.scheduler.note_progress(WORKER.id, GoesOn(case.batches[0].id, computes=False))
    assert case.left_s(0) == LIMIT_S
    assert case.left_s(LIMIT_S) == 0
    assert case.time_is_over() == case.entries


async def test_what_says_that_it_goes_on_is_refused_where_it_hangs_later(case: Case) -> None:
    case.scheduler.note_progress(WORKER.id, GoesOn(case.batches[0].id, computes=True))
    assert case.left_s(0) == LIMIT_S
    assert case.left_s(LIMIT_S) == 0
    assert case.time_is_over() == case.entries[1:]
