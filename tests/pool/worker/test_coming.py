"""What a device has computed is written by another thread while the next pass is computed, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from featsvc.errors import InvalidArgument, OutOfMemory
from featsvc.pool.contract.messages import BatchItem, Boot, Cancel, FromWorker, Outcome, RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker import pauses, work
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.work import ComputedPass, PreparedItem, Work
from featsvc.pool.worker.writing import MOST_WAITING, Writing
from featsvc.work.coming import Coming
from tests.pool.fakes import (
    LOST,
    FakeEngines,
    FakeItem,
    FakeOptions,
    FakeParams,
    FakeResult,
    OutOfMemoryError,
)

PATIENCE_S = 30.0
Make = Callable[[int], None]


class Device(FakeEngines):
    """Its results are still to be written: `make` is called with the number of each."""

    def __init__(self, make: Make) -> None:
        super().__init__(FakeOptions())
        self._make = make
        self.passes = 0
        self.lacks: Callable[[], bool] = lambda: False
        """Asked by each pass: whether there is no memory for it."""

    def run(
        self, operation: str, prepared: Any, params: Any, loaded: Any, wanted: Any
    ) -> Sequence[FakeResult]:
        self.passes += 1
        if self.lacks():
            raise OutOfMemoryError("CUDA out of memory")
        results = super().run(operation, prepared, params, loaded, wanted)

        def maker(result: FakeResult) -> Callable[[], FakeResult]:
            def make() -> FakeResult:
                assert isinstance(result.value, int)
                self._make(result.value)
                return result

            return make

        return Coming([maker(each) for each in results])


class Stage:
    """The last stages of a worker with this device."""

    def __init__(self, make: Make) -> None:
        self.device = Device(make)
        self.told: list[FromWorker] = []
        self._answered = threading.Semaphore(0)
        self.pipeline = Pipeline(self.device, Boot.of(0, "cpu", PoolSettings()), self._hear)

    def _hear(self, *messages: FromWorker) -> None:
        self.told += messages
        self._answered.release()

    def run(self, number: int, count: int = 1) -> None:
        """Computes a batch of so many items that share a pass."""
        fakes = [FakeItem(number + place) for place in range(count)]
        items = [BatchItem(number + place, "", each, None) for place, each in enumerate(fakes)]
        message = RunBatch(number, "fake.run", "m", FakeParams(), tuple(items))
        self.pipeline.put(message)
        prepared = [
            PreparedItem(item, each, each.size, each.pixels, each.flop)
            for item, each in zip(items, fakes, strict=True)
        ]
        held = self.pipeline._models.acquire_together(message.models)["m"]
        self.pipeline._compute.run(Work(message, held, prepared))

    def values(self, count: int) -> list[Any]:
        """What these answers say, in the order in which they came."""
        results: list[Any] = [each.result for each in self.outcomes(count).values()]
        return [each.value for each in results]

    def outcomes(self, count: int) -> dict[int, Outcome]:
        """So many answers by item, once they are there."""
        while len(found := {each.item: each for each in self.told if isinstance(each, Outcome)}) < count:
            assert self._answered.acquire(timeout=PATIENCE_S)
        return found


def test_the_next_pass_is_computed_while_the_last_is_written() -> None:
    computed = threading.Event()

    def make(number: int) -> None:
        if number == 10:
            assert computed.wait(PATIENCE_S)

    stage = Stage(make)
    stage.run(10)
    stage.run(20)
    computed.set()
    assert stage.values(2) == [10, 20]


def test_what_cannot_be_written_is_answered_so_and_the_others_of_its_pass_are_too() -> None:
    def make(number: int) -> None:
        if number == 11:
            raise InvalidArgument("too large")
        if number == 12:
            raise ValueError("secret path")

    stage = Stage(make)
    stage.run(10, count=4)
    errors = {item: str(each.error) for item, each in stage.outcomes(4).items() if each.error}
    assert errors.keys() == {11, 12}
    assert errors[11] == "too large"
    assert "secret" not in errors[12]
    assert stage.device.passes == 1, "nothing is computed again"
    assert stage.pipeline._open.is_empty


def test_what_cannot_be_written_has_had_its_part_of_the_pass_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(number: int) -> None:
        if number == 11:
            raise InvalidArgument("too large")

    monkeypatch.setattr(pauses.Clock, "own_s", 6.0)
    stage = Stage(make)
    stage.run(10, count=3)
    timings = [each.timing for each in stage.outcomes(3).values()]
    assert [each.cost_s - each.decode_s for each in timings if each] == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("count", [1, 4])
def test_what_lacks_memory_is_tried_again_when_all_before_it_is_written(count: int) -> None:
    lacked, written = threading.Event(), threading.Event()

    def make(number: int) -> None:
        if number == 10:
            assert_waited(lacked)
            written.set()

    def lacks() -> bool:
        if stage.device.passes == 2:
            lacked.set()
        return stage.device.passes > 1 and not written.is_set()

    stage = Stage(make)
    stage.device.lacks = lacks
    budget = stage.pipeline._compute._budgets["fake.run", ("m",)]
    before = budget.pixels()
    stage.run(10)
    stage.run(20, count)
    assert stage.values(1 + count) == [10, *range(20, 20 + count)]
    assert stage.device.passes == 3, "in one piece"
    assert budget.pixels() == before


def test_what_never_has_memory_is_tried_again_but_once_whatever_is_written_meanwhile() -> None:
    stage = Stage(lambda number: None)
    stage.run(10)
    stage.device.lacks = lambda: stage.device.passes > 1

    def finish_writing() -> bool:
        return True

    stage.pipeline.finish_writing = finish_writing  # type: ignore[method-assign]  # others go on for ever
    stage.run(20)
    assert isinstance(stage.outcomes(2)[20].error, OutOfMemory)
    assert stage.device.passes == 3
    assert not stage.pipeline._compute._written_before


def test_what_nobody_wants_any_more_is_not_written() -> None:
    cancelled, made = threading.Event(), list[int]()

    def make(number: int) -> None:
        made.append(number)
        assert_waited(cancelled)

    stage = Stage(make)
    stage.run(10, count=2)
    stage.pipeline.put(Cancel(11))
    cancelled.set()
    assert [each.skipped for each in stage.outcomes(2).values()] == [False, True]
    assert made == [10]


def test_what_waits_to_be_written_holds_none_of_its_items() -> None:
    item = PreparedItem(BatchItem(1, "request", FakeItem(), None), b"a picture", (), 1, 0.0)
    computed = ComputedPass("fake.run", [item], ["result"], 0.0, 0.0, 0.0).without_items()
    assert [(each.value, each.batch_item.item) for each in computed.group] == [(None, None)]
    assert [(each.item, each.result) for each in computed.outcomes()] == [(1, "result")]


def test_to_write_an_answer_is_no_part_of_what_it_has_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    for module in (pauses, work):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def make(number: int) -> None:
        clock.now += 1000.0

    stage = Stage(make)
    stage.run(10)
    (outcome,) = stage.outcomes(1).values()
    assert outcome.timing is not None
    assert outcome.timing.compute_s == 0


def test_models_are_given_back_before_the_answers_are_written() -> None:
    written = threading.Event()
    stage = Stage(lambda number: assert_waited(written))
    stage.run(10)
    assert stage.pipeline._models.drop_idle(), "the device is done with it"
    written.set()
    assert stage.values(1) == [10]


def assert_waited(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


def test_no_more_waits_to_be_written_than_may() -> None:
    began, written, answered = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def results() -> Iterator[Callable[[], object]]:
        def make() -> object:
            began.release()
            assert_waited(written)
            return None

        yield make

    writing = Writing(lambda *_: answered.release(), lambda _: True)
    item = PreparedItem(BatchItem(1, "", FakeItem(), None), None, (), 1, 0.0)

    def put() -> None:
        writing.put(ComputedPass("fake.run", [item], Coming([*results()]), 0.0, 0.0, 0.0))

    put()
    assert began.acquire(timeout=PATIENCE_S)
    for _ in range(MOST_WAITING):
        put()
    assert writing._waiting.full()
    one_more = threading.Thread(target=put)
    one_more.start()
    written.set()
    one_more.join(PATIENCE_S)
    assert not one_more.is_alive()
    for _ in range(MOST_WAITING + 2):
        assert answered.acquire(timeout=PATIENCE_S)


def test_a_device_that_is_lost_while_answers_come_home_ends_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Exception] = []
    monkeypatch.setattr(work, "end_if_lost", lost.append)

    def make(number: int) -> None:
        raise LOST

    stage = Stage(make)
    stage.run(10)
    stage.outcomes(1)
    assert lost == [LOST]
