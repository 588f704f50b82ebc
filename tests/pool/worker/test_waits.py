"""Batches whose models are here wait for no load, and no load waits for them for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import replace

import pytest

from featsvc.pool.contract.messages import (
    BatchItem,
    Boot,
    FromWorker,
    LoadReply,
    Outcome,
    RunBatch,
    Unload,
)
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker import preparing
from featsvc.pool.worker.model_cache import ModelCache
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.preparing import Preparation
from tests.pool.conftest import MakeGate
from tests.pool.fakes import FakeEngines, FakeItem, FakeModel, FakeOptions, FakeParams

PATIENCE_S = 20.0


class HeldEngines(FakeEngines):
    """Engines that compute what is called "held" only when they are let go."""

    def __init__(self) -> None:
        super().__init__(FakeOptions())
        self.computes, self.may_end, self.prepares_next = (threading.Event() for _ in range(3))

    def batch_key(self, prepared: FakeItem) -> Hashable:
        if prepared.value == "next":
            self.prepares_next.set()
        return super().batch_key(prepared)

    def _result(self, item: FakeItem, batch_size: int, loaded: FakeModel) -> object:  # type: ignore[override]
        if item.value == "held":
            self.computes.set()
            self.may_end.wait(PATIENCE_S)
        return item.value


class Worker:
    """A pipeline in threads of this process, and what it has said."""

    def __init__(self, engines: FakeEngines, boot: Boot) -> None:
        self._said: queue.SimpleQueue[Outcome | LoadReply] = queue.SimpleQueue()
        self.pipeline = Pipeline(engines, boot, self._hear)

    def start(self) -> None:
        threading.Thread(target=self.pipeline.run, daemon=True).start()

    def _hear(self, *messages: FromWorker) -> None:
        for message in messages:
            if isinstance(message, Outcome | LoadReply):
                self._said.put(message)

    def ask(
        self,
        number: int,
        *models: str,
        value: str = "",
        item: FakeItem | None = None,
        goes_first: bool = False,
    ) -> None:
        self.ask_all({number: item or FakeItem(value)}, *models, goes_first=goes_first)

    def ask_all(self, items: dict[int, FakeItem], *models: str, goes_first: bool = False) -> None:
        """A batch of these items by their numbers."""
        batch = tuple(BatchItem(number, "", item, None) for number, item in items.items())
        self.pipeline.put(
            RunBatch(min(items), "fake.run", models[0], FakeParams(), batch, models[1:], goes_first)
        )

    def answered(self) -> int:
        """The number of the next answer."""
        said = self._said.get(timeout=PATIENCE_S)
        assert said.error is None
        return said.item if isinstance(said, Outcome) else said.call


def test_a_load_that_waits_for_room_holds_up_no_batch_whose_models_are_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, real = threading.Event(), ModelCache._is_over

    def is_over(cache: ModelCache, nbytes: int, models: int) -> bool:
        over = real(cache, nbytes, models)
        if over:
            waits.set()
        return over

    engines = HeldEngines()
    worker = Worker(engines, Boot.of(0, "cpu", PoolSettings(max_models=2)))
    worker.start()
    worker.ask(1, "sam", "clip", value="held")
    assert engines.computes.wait(PATIENCE_S)
    monkeypatch.setattr(ModelCache, "_is_over", is_over)
    worker.ask(2, "sam", "dino")
    assert waits.wait(PATIENCE_S)
    worker.ask(3, "sam", "clip", value="next")
    assert engines.prepares_next.wait(PATIENCE_S)
    engines.may_end.set()
    assert [worker.answered() for _ in range(3)] == [1, 3, 2]
    worker.ask(4, "clip")
    assert worker.answered() == 4


def test_a_model_that_is_to_go_is_still_used_by_a_batch_that_was_given_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot = replace(Boot.of(0, "cpu", PoolSettings()), prepared_at_once=2)
    worker = Worker(FakeEngines(FakeOptions()), boot)
    is_marked, real_unload, real_prepare = threading.Event(), ModelCache.unload, Preparation._prepare

    def unload(cache: ModelCache, model: str, when_idle: Callable[[], None]) -> bool | None:
        done = real_unload(cache, model, when_idle)
        is_marked.set()
        return done

    def prepare(preparation: Preparation, batch: RunBatch, *args: object) -> None:
        if batch.id == 2:  # it is in its thread, and only then goes on
            assert is_marked.wait(PATIENCE_S)
        real_prepare(preparation, batch, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelCache, "unload", unload)
    monkeypatch.setattr(Preparation, "_prepare", prepare)
    worker.start()
    worker.ask(1, "m")
    assert worker.answered() == 1
    worker.ask(2, "m")
    worker.pipeline.put(Unload(3, "m"))
    assert [worker.answered() for _ in range(2)] == [2, 3]


async def test_what_goes_first_waits_for_nothing_else_that_is_being_prepared(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        preparing, "QUICK_PREPARE_S", -1.0
    )  # all but the first item of a batch in other threads
    worker, gate = Worker(FakeEngines(FakeOptions()), Boot.of(0, "cpu", PoolSettings())), make_gate()
    worker.start()
    worker.ask(1, "m")
    assert worker.answered() == 1
    held = FakeItem(stage="prepare", gate=str(gate))
    worker.ask_all({2: FakeItem(), 3: held, 4: held}, "m")
    await gate.reached(2)
    worker.ask_all({5: FakeItem(), 6: FakeItem()}, "m", goes_first=True)
    assert {worker.answered() for _ in range(2)} == {5, 6}
    gate.let_through(2)
    assert {worker.answered() for _ in range(3)} == {2, 3, 4}


def test_of_what_goes_first_as_much_is_prepared_at_once_as_of_the_rest(make_gate: MakeGate) -> None:
    boot = replace(Boot.of(0, "cpu", PoolSettings()), prepared_at_once=2)
    worker, gate = Worker(FakeEngines(FakeOptions()), boot), make_gate()
    worker.start()
    worker.ask(1, "m")
    assert worker.answered() == 1
    worker.ask(2, "m", item=FakeItem(stage="prepare", gate=str(gate)), goes_first=True)
    worker.ask(3, "m", goes_first=True)
    assert worker.answered() == 3
    gate.let_through()
    assert worker.answered() == 2
