"""In which order a worker computes what is ready, and what it tells the pool of that."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from featsvc.pool.contract.messages import BatchItem, Boot, Computes, FromWorker, GoesOn, Outcome, RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker import compute, pauses
from featsvc.pool.worker.compute import Compute
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.work import PreparedItem, Work
from tests.pool.fakes import FakeEngines, FakeItem, FakeOptions, FakeParams, FakeResult

LONG_FLOP = 1e13


class Steps(FakeEngines):
    """Each pass takes one step, by a clock of their own."""

    def __init__(self, step_s: float) -> None:
        super().__init__(FakeOptions())
        self.now, self._step_s = 1000.0, step_s

    def run(
        self, operation: str, prepared: Any, params: Any, loaded: Any, wanted: Any
    ) -> Sequence[FakeResult]:
        self.now += self._step_s
        wanted()
        return super().run(operation, prepared, params, loaded, wanted)


class Stage:
    """The last stage of a worker: what was given to it, is ready and computes; and what it has told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_s: float, max_pixels: int = 100) -> None:
        engines = Steps(step_s)
        for module in (pauses, compute):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: engines.now))
        self.told: list[FromWorker] = []
        boot = Boot.of(0, "cpu", PoolSettings())
        self.pipeline = Pipeline(engines, boot, lambda *messages: self.told.extend(messages))
        self._compute = Compute(engines, max_pixels, 600.0, self.pipeline)

    def given(self, number: int, *sizes: int, does: str = "", flop: float = 0.0, **batch: Any) -> Work:
        """A batch that the worker has now, as it will be when it is ready: a pass for each size."""
        fakes = [FakeItem(size, does, size=size) for size in sizes]
        items = [BatchItem(number + place, "", each, None) for place, each in enumerate(fakes)]
        message = RunBatch(
            number, "fake.run", "m", **{"params": FakeParams(), "items": tuple(items), **batch}
        )
        self.pipeline.put(message)
        prepared = [
            PreparedItem(item, each, each.size, each.pixels, flop)
            for item, each in zip(items, fakes, strict=True)
        ]
        return Work(message, self.pipeline._models.acquire_together(message.models)["m"], prepared)

    def ready(self, work: Work, goes_first: bool = False) -> None:
        """It is ready."""
        self.pipeline.queue.put(work, goes_first)

    def run(self, work: Work) -> None:
        """It computes, with all that may run in its pauses."""
        self._compute.run(work)

    def of(self, kind: type[Any]) -> list[Any]:
        """What it has told of this kind."""
        return [each for each in self.told if isinstance(each, kind)]


def test_short_work_runs_between_the_passes_of_a_batch_though_each_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, step_s=pauses.PAUSE_S * 0.6)
    work = stage.given(10, 1, 2, 3)
    stage.ready(stage.given(20, 1))
    stage.run(work)
    assert [each.item for each in stage.of(Outcome)] == [10, 20, 11, 12]
    assert stage.of(Computes) == [Computes(20, (10,))], "what hangs there is not to be taken for the batch"
    assert not stage.of(GoesOn), "it holds its place all the same"


def test_a_batch_of_many_short_passes_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step_s=0.15)
    stage.run(stage.given(10, *range(1, 31)))
    assert [round(each.takes_s, 2) for each in stage.of(GoesOn)] == [0.3, 1.35, 2.4, 3.45, 4.5]


def test_the_pool_hears_which_batch_computes_where_it_would_take_another_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, step_s=0.0)
    stage.run(stage.given(1, 1))
    assert not stage.of(Computes), "it is the only one"
    older, ready, first = (stage.given(number, 1) for number in (10, 20, 30))
    stage.ready(ready)
    stage.run(first)
    assert stage.of(Computes) == [Computes(30, (20,))], "the oldest is still being prepared"
    stage.run(older)
    stage.run(ready)
    assert len(stage.of(Computes)) == 1, "the oldest computes"


def test_the_pool_hears_that_a_batch_computes_again_after_its_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step_s=pauses.PAUSE_S * 1.5)
    stage.ready(stage.given(10, 1, flop=LONG_FLOP))
    outer = stage.given(20, 1)
    stage.ready(stage.given(30, 1), goes_first=True)
    stage.run(outer)
    told = [(each.batch, sorted(each.waiting)) for each in stage.of(Computes)]
    assert told == [(20, [10, 30]), (30, [10, 20]), (20, [10])]


def test_what_lacks_memory_in_a_pause_goes_back_to_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step_s=pauses.PAUSE_S * 1.5)
    outer = stage.given(10, 1)
    for number, does in ((20, "no memory"), (30, "")):
        stage.ready(stage.given(number, 1, does=does, flop=LONG_FLOP * (not does)))
    stage.run(outer)
    stage.ready(stage.given(40, 1), goes_first=True)
    assert [each.batch.id for each in stage.pipeline.queue.now()] == [40, 20, 30]


def test_what_lacks_memory_beside_a_second_network_takes_none_from_who_needs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, step_s=0.0, max_pixels=2)
    stage.run(stage.given(10, 1, 1, also=("n",), params=FakeParams(most=1)))
    stage.run(stage.given(20, 1, 1))
    assert [each.result.batch_size for each in stage.of(Outcome)] == [1, 1, 2, 2]
