"""A device that computes by itself: it is given the next pass before the one before is waited for, and loses none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from featsvc.errors import OutOfMemory
from featsvc.pool.contract.messages import BatchItem, Boot, Computes, FromWorker, Outcome, RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker import compute, pauses, work
from featsvc.pool.worker.compute import AHEAD_S, LOOK_S, Compute
from featsvc.pool.worker.pauses import PAUSE_S
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.work import PreparedItem, Work
from featsvc.work.coming import Coming
from tests.pool.fakes import FakeEngines, FakeItem, FakeOptions, FakeParams, FakeResult

PASS_S = 0.1
"""What the device computes in one pass."""
FLOP = 1e9
"""Of a pass, so that its time is learned."""
SHORT_FLOP = FLOP / 100


class Device(FakeEngines):
    """It takes passes one behind the other, by a clock of its own; giving it one takes no time."""

    def __init__(self) -> None:
        super().__init__(FakeOptions())
        self.now = self.free_at = 1000.0
        self.events: list[str] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.on_step: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.on_sleep()

    def run(
        self, operation: str, prepared: Any, params: Any, loaded: Any, wanted: Any
    ) -> Sequence[FakeResult]:
        made: list[FakeResult] = []
        step, self.on_step = self.on_step, lambda: None
        step()
        wanted()
        name = ",".join(map(str, prepared))
        if any(each.does == "no memory" for each in prepared) and self.free_at > self.now:
            raise OutOfMemory("not beside another")
        self.events.append(f"given {name}")
        self.free_at = end = max(self.now, self.free_at) + PASS_S

        def results() -> list[FakeResult]:
            self.now = max(self.now, end)
            self.events.append(f"waited for {name}")
            if not made:
                made.extend(super(Device, self).run(operation, prepared, params, loaded, wanted))
            return made

        return Coming(results, lambda: self.now >= end)


class Stage:
    """The last stage of a worker with this device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device = device = Device()
        clock = SimpleNamespace(monotonic=lambda: device.now, sleep=device.sleep)
        for module in (pauses, compute, work):
            monkeypatch.setattr(module, "time", clock)
        self.told: list[FromWorker] = []
        self.pipeline = Pipeline(device, Boot.of(0, "cpu", PoolSettings()), self._hear)
        self.compute = Compute(device, 100, 600.0, self.pipeline)

    def _hear(self, *messages: FromWorker) -> None:
        for each in messages:
            self.told.append(each)
            if isinstance(each, Outcome):
                self.device.events.append(f"answered {each.item}")

    def given(self, number: int, count: int = 1, does: str = "", flop: float = FLOP) -> Work:
        """A batch that the worker has, of so many items that share a pass; the first of them does that."""
        fakes = [FakeItem(number + place, "" if place else does, flop=flop) for place in range(count)]
        items = [BatchItem(number + place, "", each, None) for place, each in enumerate(fakes)]
        message = RunBatch(number, "fake.run", "m", FakeParams(), tuple(items))
        self.pipeline.put(message)
        now = self.device.now
        prepared = [
            PreparedItem(item, each, each.size, each.pixels, each.flop, now, now)
            for item, each in zip(items, fakes, strict=True)
        ]
        return Work(message, self.pipeline._models.acquire_together(message.models)["m"], prepared)

    def ready(self, *batches: Work, goes_first: bool = False) -> None:
        for each in batches:
            self.pipeline.queue.put(each, goes_first)

    def learn(self) -> None:
        """One pass by itself, of which it learns how long they take."""
        self.compute.run(self.given(1))
        self.compute.finish()
        self.device.events.clear()
        self.told.clear()

    def next(self) -> Work:
        """The next batch, which it runs."""
        taken = self.compute.next_work()
        self.compute.run(taken)
        return taken

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return {each.item: each for each in self.told if isinstance(each, Outcome)}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(monkeypatch)
    made.learn()
    return made


def test_the_next_pass_is_given_before_the_last_is_waited_for(stage: Stage) -> None:
    stage.ready(stage.given(10), stage.given(20))
    stage.next()
    began = stage.device.now
    stage.next()
    stage.compute.finish()
    assert stage.device.events == [
        *("given 10", "given 20", "waited for 10", "answered 10", "waited for 20", "answered 20")
    ]
    assert stage.device.now - began == pytest.approx(2 * PASS_S), "the device has not stood still"


def test_the_next_pass_is_chosen_shortly_before_the_last_ends_so_that_short_work_may_come_before_it(
    stage: Stage,
) -> None:
    stage.ready(stage.given(10), stage.given(20))
    stage.next()
    began = stage.device.now
    short = stage.given(30)
    stage.device.on_sleep = lambda: (
        stage.ready(short, goes_first=True) if short not in stage.pipeline.queue.now() else None
    )
    assert stage.compute.next_work() is short
    assert stage.device.now - began == pytest.approx(PASS_S - AHEAD_S, abs=2 * LOOK_S)


def test_what_is_here_is_answered_while_nothing_else_is_ready(stage: Stage) -> None:
    stage.ready(stage.given(10))
    stage.next()
    late = stage.given(20)

    def come() -> None:
        if "answered 10" in stage.device.events and not stage.pipeline.queue.now():
            stage.ready(late)

    stage.device.on_sleep = come
    # Nothing is waited for any more, and the queue is empty: what comes then is put by hand.
    stage.pipeline.queue.take = lambda: late  # type: ignore[method-assign]
    assert stage.compute.next_work() is late
    assert stage.device.events == ["given 10", "waited for 10", "answered 10"]


def test_each_is_told_the_time_that_the_device_had_for_it_alone(stage: Stage) -> None:
    stage.ready(stage.given(10), stage.given(20))
    stage.next()
    stage.next()
    stage.compute.finish()
    computed = {item: outcome.timing.compute_s for item, outcome in stage.outcomes.items() if outcome.timing}
    assert computed == {10: pytest.approx(PASS_S), 20: pytest.approx(PASS_S)}


def test_passes_of_one_batch_follow_each_other_so_too(stage: Stage) -> None:
    stage.compute.run(stage.given(10, count=150))
    stage.compute.finish()
    _, second = (each for each in stage.device.events if each.startswith("given"))
    assert stage.device.events.index(second) < stage.device.events.index("answered 10")
    assert set(stage.outcomes) == set(range(10, 160))


def test_what_fails_when_it_is_waited_for_is_tried_again_in_parts_and_costs_the_others_nothing(
    stage: Stage,
) -> None:
    stage.ready(stage.given(10, count=4, does="fail"), stage.given(20))
    stage.next()
    stage.next()
    stage.compute.finish()
    failed = {item for item, outcome in stage.outcomes.items() if outcome.error is not None}
    assert failed == {10}
    assert set(stage.outcomes) == {10, 11, 12, 13, 20}
    assert stage.pipeline._open.is_empty


def test_what_has_no_memory_beside_the_last_pass_is_tried_again_when_that_is_done(stage: Stage) -> None:
    stage.ready(stage.given(10), stage.given(20, count=2, does="no memory"))
    stage.next()
    # Without what it does when it runs by itself.
    taken = stage.compute.next_work()
    stage.compute.run(taken)
    stage.compute.finish()
    assert stage.device.events[:3] == ["given 10", "waited for 10", "answered 10"]
    assert "given 20,21" in stage.device.events, "together: nothing was learned of how many fit"


def test_who_pauses_has_answered_what_was_before(stage: Stage) -> None:
    stage.ready(stage.given(10), stage.given(20), stage.given(30, flop=SHORT_FLOP))
    stage.next()
    stage.device.on_step = lambda: stage.device.sleep(PAUSE_S * 2)
    stage.next()
    stage.compute.finish()
    events = stage.device.events
    assert events.index("answered 10") < events.index("given 30") < events.index("given 20")
    assert events.index("answered 30") < events.index("answered 20")


def test_the_pool_is_not_told_of_the_next_batch_before_the_last_is_answered(stage: Stage) -> None:
    stage.given(10)  # which is still being prepared: the pool would take it for the one that computes
    stage.ready(stage.given(20), stage.given(30))
    stage.next()
    stage.next()
    stage.compute.finish()
    kinds = [(type(each), getattr(each, "batch", getattr(each, "item", 0))) for each in stage.told]
    told = [each for each in kinds if each[0] in (Computes, Outcome)]
    assert told == [(Computes, 20), (Outcome, 20), (Computes, 30), (Outcome, 30)]


def test_a_batch_has_its_models_until_its_last_answer(stage: Stage) -> None:
    taken = stage.given(10)
    stage.compute.run(taken)
    assert not stage.pipeline._models.drop_idle()
    stage.compute.finish()
    assert stage.pipeline._models.drop_idle()
