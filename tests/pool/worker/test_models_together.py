"""Models that one batch needs at once: all of them, or none and an error that says how much is missing."""

from __future__ import annotations

import threading

import pytest

from featsvc.errors import NotFound, OutOfMemory
from featsvc.pool.worker.model_cache import ModelCache
from tests.pool.fakes import FakeEngines, FakeModel, FakeOptions

SIZES = {"small": 1, "middle": 4, "large": 6}


class SizedModels(FakeEngines):
    """Engines with models of these sizes."""

    def __init__(self) -> None:
        super().__init__(FakeOptions())

    def load(self, model: str) -> FakeModel:
        if model not in SIZES:
            raise NotFound(f"no model {model}")
        return FakeModel(model, SIZES[model])


def cache(max_bytes: int = 0, max_models: int = 0) -> ModelCache:
    return ModelCache(SizedModels(), max_bytes, max_models, (), lambda models: None)


def test_models_that_have_room_are_kept_until_each_is_released() -> None:
    models = cache(max_bytes=10)
    held = models.acquire_together(("middle", "large"))
    assert [held[each].nbytes for each in ("middle", "large")] == [4, 6]
    assert models.pin("middle", "large")
    assert not models.pin("middle", "small")
    for name in ("middle", "large", "middle", "large"):
        models.release(name)
    assert models.drop_idle()
    assert not models.pin("middle")


@pytest.mark.parametrize("are_known", [False, True])
def test_models_too_large_together_are_refused_with_what_is_missing(are_known: bool) -> None:
    models = cache(max_bytes=8)
    if are_known:
        for name in ("middle", "large"):
            with models.using(name):
                pass
    with pytest.raises(OutOfMemory) as caught:
        models.acquire_together(("middle", "large"))
    assert caught.value.message == (
        "middle and large are needed at once: they take 10 bytes, and a worker of this server has 8 for models "
        "(--model-memory): 2 are missing"
    )
    models.drop_idle()
    assert not models._models  # nothing is held


def test_more_models_than_a_worker_may_hold_are_refused_before_any_is_loaded() -> None:
    models = cache(max_models=2)
    with pytest.raises(OutOfMemory, match=r"holds 2 models at most \(--max-models\), 1 too few"):
        models.acquire_together(("small", "middle", "large"))
    assert not models._models


def test_where_one_cannot_be_loaded_none_is_held() -> None:
    models = cache()
    with pytest.raises(NotFound):
        models.acquire_together(("small", "unknown"))
    models.drop_idle()
    assert not models._models


def test_two_that_need_what_the_other_holds_wait_for_each_other_only_once() -> None:
    models = cache(max_bytes=10)
    models.acquire_together(("middle", "large"))
    done = threading.Event()

    def other() -> None:
        models.acquire_together(("small", "large"))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    models.release("middle")
    models.release("large")
    assert done.wait(10)
    thread.join()
    assert not models.pin("middle")
    assert models.pin("small", "large")
