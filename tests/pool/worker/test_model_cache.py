"""The cache of models itself, without a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from featsvc.errors import OutOfMemory
from featsvc.pool.contract.engine_protocol import EngineModel
from featsvc.pool.contract.messages import Boot
from featsvc.pool.contract.settings import AUTO_MODEL_BYTES, PoolSettings
from featsvc.pool.worker import pipeline as pipeline_module
from featsvc.pool.worker.model_cache import ModelCache
from featsvc.pool.worker.pipeline import Pipeline
from tests.pool.fakes import FakeEngines, FakeModel, FakeOptions

PATIENCE_S = 10.0


class SlowToGiveBack(FakeEngines):
    """Engines whose memory is given back when that is let through."""

    def __init__(self) -> None:
        super().__init__(FakeOptions())
        self.began, self.may_end = threading.Event(), threading.Event()
        self.order: list[str] = []

    def load(self, model: str) -> FakeModel:
        self.order.append(f"load {model}")
        return FakeModel(model, 1)

    def give_back(self) -> int:
        self.began.set()
        assert self.may_end.wait(PATIENCE_S)
        self.order.append("given back")
        return 1


@pytest.fixture
def slow() -> SlowToGiveBack:
    return SlowToGiveBack()


@pytest.fixture
def giving_back(slow: SlowToGiveBack) -> Iterator[ModelCache]:
    """A cache with room for two models, one of which has gone while its memory has not; the other is idle."""
    cache = ModelCache(slow, 0, 2, (), lambda said: None)
    for model in ("a", "b"):
        with cache.using(model):
            pass
    slow.order.clear()
    with ThreadPoolExecutor(1) as other:
        unloaded = other.submit(cache.unload, "a", lambda: None)
        assert slow.began.wait(PATIENCE_S)
        yield cache
        slow.may_end.set()
        assert unloaded.result(PATIENCE_S) is True


@pytest.fixture
def until_waited_for(giving_back: ModelCache, slow: SlowToGiveBack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is let through when this thread comes to wait for it."""
    give_back = giving_back._give_back

    def let_through_and_wait() -> None:
        slow.may_end.set()
        give_back()

    monkeypatch.setattr(giving_back, "_give_back", let_through_and_wait)


def test_models_are_looked_for_and_used_while_memory_is_given_back(
    giving_back: ModelCache, slow: SlowToGiveBack
) -> None:
    def used() -> bool:
        assert not giving_back.pin("a"), "it has gone"
        with giving_back.using("b"):
            return not giving_back.is_going("b", lambda: None)

    with ThreadPoolExecutor(1) as looking:
        assert looking.submit(used).result(PATIENCE_S / 2)
    assert not slow.order


@pytest.mark.usefixtures("until_waited_for")
def test_a_model_is_loaded_when_the_memory_of_the_one_before_is_free(
    giving_back: ModelCache, slow: SlowToGiveBack
) -> None:
    assert giving_back.acquire("c")
    assert slow.order == ["given back", "load c"]


@pytest.mark.usefixtures("until_waited_for")
def test_who_lacks_memory_gets_that_which_another_gives_back(
    giving_back: ModelCache, slow: SlowToGiveBack
) -> None:
    with giving_back.using("b"):
        assert giving_back.drop_idle(), "there is something to try again for"
    assert slow.order == ["given back"]


class ScarceMemory(FakeEngines):
    """Engines with room for so many models, whatever the budget says."""

    def __init__(self, room: int) -> None:
        super().__init__(FakeOptions())
        self.room = room
        self.cache: ModelCache | None = None

    def load(self, model: str) -> FakeModel:
        if self.cache is not None and len(self.cache._models) >= self.room:
            raise MemoryError
        return FakeModel(model, 1)


def test_idle_models_make_way_when_a_device_has_no_memory_for_another() -> None:
    told: list[list[str]] = []
    engines = ScarceMemory(room=2)
    cache = engines.cache = ModelCache(
        engines, 0, 0, (), lambda said: told.append([m.name for m in said.models])
    )
    for model in ("a", "b"):
        with cache.using(model):
            pass
    with cache.using("c"):
        assert told[-1] == ["c"]


def test_a_model_that_never_fits_is_out_of_memory_and_not_kept() -> None:
    engines = ScarceMemory(room=0)
    cache = engines.cache = ModelCache(engines, 0, 0, (), lambda said: None)
    with pytest.raises(OutOfMemory, match="huge does not fit"):
        cache.acquire("huge")
    assert not cache._models


def test_a_model_in_use_stays_until_it_is_released() -> None:
    cache = ModelCache(ScarceMemory(room=9), 0, 1, (), lambda said: None)
    cache.acquire("a")
    done = threading.Event()

    def acquired() -> None:
        cache.acquire("b")
        done.set()

    thread = threading.Thread(target=acquired)
    thread.start()
    assert not done.wait(0.05)
    assert list(cache._models) == ["a"]
    cache.release("a")
    thread.join(10)
    assert done.is_set()
    assert "a" not in cache._models


def test_a_model_that_is_unloaded_while_it_is_in_use_goes_when_it_is_idle() -> None:
    cache, idle = ModelCache(ScarceMemory(room=9), 0, 0, (), lambda said: None), threading.Event()
    cache.acquire("a")
    assert cache.unload("a", idle.set) is None
    got: list[EngineModel] = []
    thread = threading.Thread(target=lambda: got.append(cache.acquire("a")))
    thread.start()
    cache.release("a")
    assert idle.is_set()
    assert not got, "it is given to no other"
    assert cache.unload("a", idle.set) is True
    thread.join(10)
    assert got, "it is loaded anew"
    cache.release("a")
    assert cache.unload("a", idle.set) is True
    assert cache.unload("a", idle.set) is False


@pytest.mark.parametrize(
    ("device", "budget", "expected"),
    [
        ("cpu", None, AUTO_MODEL_BYTES),
        ("cuda:0", None, 300),
        ("cuda:1", None, 600),
        ("cuda:0", 7, 7),
        ("cuda:0", 0, 0),
    ],
)
def test_models_may_take_a_share_of_a_gpu_or_what_was_set(
    device: str, budget: int | None, expected: int
) -> None:
    # The fake GPU has 1000 bytes.
    settings = PoolSettings(devices=("cuda:0", "cuda:0", "cuda:1"), model_memory_bytes=budget)
    pipeline = Pipeline(
        FakeEngines(FakeOptions(device=device)), Boot.of(0, device, settings), lambda *said: None
    )
    assert pipeline._models._max_bytes == expected


def test_a_gpu_that_its_last_worker_still_fills_is_asked_again_for_a_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "PRELOAD_PAUSES_S", (0.0, 0.0))

    class Clearing(FakeEngines):
        lacks = 3  # each load is tried twice

        def load(self, model: str) -> FakeModel:
            self.lacks -= 1
            if self.lacks >= 0:
                raise MemoryError
            return super().load(model)

    settings = PoolSettings()
    for device, loaded in (("cuda:0", ["m"]), ("cpu", [])):
        engines = Clearing(FakeOptions(device=device))
        pipeline = Pipeline(engines, Boot.of(0, device, settings), lambda *said: None)
        pipeline._preload("m")
        assert list(pipeline._models._models) == loaded


def test_a_device_with_a_name_of_its_own_is_the_only_one_that_its_worker_sees() -> None:
    settings = PoolSettings(devices=("MIG-3a1f",), engine_options=FakeOptions())
    options = Boot.of(0, "MIG-3a1f", settings).engine_options
    assert isinstance(options, FakeOptions)
    assert options.device == "cuda:0"
