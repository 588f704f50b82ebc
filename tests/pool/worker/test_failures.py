"""What fails leaves neither its picture nor its arrays behind, even before the garbage collector runs."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator

import pytest

from featsvc.errors import FeatsvcError
from featsvc.pool.contract.messages import (
    BatchItem,
    Boot,
    FromWorker,
    Load,
    LoadReply,
    Outcome,
    RunBatch,
)
from featsvc.pool.worker.compute import Compute
from featsvc.pool.worker.failures import is_device_lost
from featsvc.pool.worker.pauses import Clock
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.work import PreparedItem, Work
from tests.pool.fakes import FakeEngines, FakeItem, FakeModel, FakeOptions, FakeParams

BOOT = Boot(0, "cpu", 1, "", None, 1, 1, 100, 600.0, 0.0, (), 0, 1, 0, "INFO", "")
MODEL = FakeModel("m", 1)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    logging.disable()  # or pytest would keep the log's lines, and the errors in them
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


@pytest.fixture
def sent() -> list[FromWorker]:
    return []


@pytest.fixture
def pipeline(sent: list[FromWorker]) -> Pipeline:
    return Pipeline(FakeEngines(FakeOptions()), BOOT, lambda *messages: sent.extend(messages))


def batch_of(item: FakeItem) -> RunBatch:
    return RunBatch(1, "fake.run", "m", FakeParams(), (BatchItem(1, "a request", item, None),))


def told(sent: list[FromWorker]) -> FeatsvcError:
    """The error of the only answer, which says what the item has had of the worker."""
    (outcome,) = [each for each in sent if isinstance(each, Outcome)]
    assert outcome.error is not None
    assert outcome.timing is not None
    assert outcome.timing.cost_s > 0
    return outcome.error


@pytest.mark.parametrize("does", ["refuse", "fail", "no memory"])
def test_an_item_that_cannot_be_prepared_goes_with_its_answer(
    pipeline: Pipeline, sent: list[FromWorker], does: str
) -> None:
    item = FakeItem(b"a picture", does, "prepare")
    gone, batch = weakref.ref(item), batch_of(item)
    pipeline.put(batch)
    pipeline._preparation._prepared_item(batch, batch.items[0], MODEL)
    error = told(sent)
    assert (error.__traceback__, error.__context__) == (None, None)
    del item, batch
    pipeline._inbox.get()
    assert gone() is None


@pytest.mark.parametrize("does", ["refuse", "fail", "no memory"])
def test_an_item_that_cannot_be_computed_goes_with_its_answer(
    pipeline: Pipeline, sent: list[FromWorker], does: str
) -> None:
    item = FakeItem(b"a picture", does)
    gone, batch = weakref.ref(item), batch_of(item)
    pipeline.put(batch)
    pipeline._inbox.get()
    loaded = pipeline._models.acquire("m")
    work = Work(batch, loaded, [PreparedItem(batch.items[0], item, 1, 1, 0.0)])
    Compute(pipeline._engines, 100, 600.0, pipeline).run(work)
    told(sent)
    del item, batch, work
    assert gone() is None


def test_what_makes_a_pass_fail_has_had_its_part_of_all_passes_that_it_was_in(
    pipeline: Pipeline, sent: list[FromWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "own_s", 6.0)
    items = tuple(
        BatchItem(number, "", FakeItem(does=does), None) for number, does in enumerate(("", "fail"))
    )
    pipeline.put(RunBatch(1, "fake.run", "m", FakeParams(), items))
    prepared = [PreparedItem(each, each.item, 1, 1, 0.0, 10.0, 11.0) for each in items]
    Compute(pipeline._engines, 100, 600.0, pipeline).run(
        Work(batch_of(FakeItem()), pipeline._models.acquire("m"), prepared)
    )
    costs_s = {each.item: each.timing.cost_s for each in sent if isinstance(each, Outcome) and each.timing}
    assert costs_s == {0: 1 + 6, 1: 1 + 6 / 2 + 6}


@pytest.mark.parametrize("stage", ["prepare", "run"])
def test_what_is_abandoned_says_what_it_has_had(
    pipeline: Pipeline, sent: list[FromWorker], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    batch, looks = batch_of(FakeItem(does="compute until abandoned", stage=stage)), iter([True])
    monkeypatch.setattr(pipeline, "is_wanted", lambda item: next(looks, False))
    if stage == "prepare":
        pipeline._preparation._prepared_item(batch, batch.items[0], MODEL)
    else:
        item = PreparedItem(batch.items[0], batch.items[0].item, 1, 1, 0.0, 10.0, 10.0)
        Compute(pipeline._engines, 100, 600.0, pipeline).run(
            Work(batch, pipeline._models.acquire("m"), [item])
        )
    (outcome,) = [each for each in sent if isinstance(each, Outcome)]
    assert outcome.skipped
    assert outcome.timing is not None
    assert outcome.timing.cost_s > 0


def test_a_model_that_cannot_be_loaded_leaves_nothing(pipeline: Pipeline, sent: list[FromWorker]) -> None:
    pipeline._load(Load(1, "missing"))
    (reply,) = [each for each in sent if isinstance(each, LoadReply)]
    assert reply.error is not None
    assert reply.error.__traceback__ is None


class AcceleratorError(RuntimeError):
    """As torch's, from 2.8 on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"CUDA error: {text}")
        self.error_code = code


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError(710, "device-side assert triggered"),
        AcceleratorError(214, "words of another driver"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    ],
)
def test_a_device_that_nothing_runs_on_any_more_is_lost(error: Exception) -> None:
    assert is_device_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError(2, "out of memory"),
        AcceleratorError(9, "invalid configuration argument"),
        AcceleratorError(209, "no kernel image is available for execution on the device"),
        RuntimeError("CUDA error: invalid configuration argument"),
        RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`"),
        RuntimeError("unknown error"),
        ValueError("CUDA error: device-side assert triggered"),
    ],
)
def test_a_device_that_goes_on_is_not_lost(error: Exception) -> None:
    assert not is_device_lost(error)
