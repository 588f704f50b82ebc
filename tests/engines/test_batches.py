"""Which items share a run: only those that are faster together; all others are answered as soon as they are done."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.pool.contract.messages import BatchItem, Computes, GoesOn, Outcome, RunBatch
from featsvc.pool.worker.compute import Compute
from featsvc.pool.worker.pauses import WorkQueue
from featsvc.pool.worker.work import ComputedPass, PreparedItem, Work
from featsvc.v1 import schema
from featsvc.v1.schema import TextQuery, Texts
from featsvc.work.item import Item, PictureItem, PromptItem, QueryItem, TextItem
from featsvc.work.operations import (
    COMPUTE_SIMILARITY,
    ENCODE_IMAGE,
    ENCODE_TEXT,
    EXTRACT_CLIP,
    EXTRACT_DINO,
    GENERATE_MASKS,
    PREDICT_MASKS,
)
from featsvc.work.options import EngineOptions
from tests.engines import models

GPU = "mps"
"""Of a kind that has no current device, which CUDA would want a driver for."""
PICTURE = models.encoded(models.picture(64, 48))
DENSE: dict[str, tuple[BaseModel, Item]] = {
    EXTRACT_CLIP.rpc: (schema.ClipExtractFeaturesParams(load_size=-1), PictureItem(PICTURE)),
    COMPUTE_SIMILARITY.rpc: (
        schema.ComputeSimilarityParams(load_size=-1),
        QueryItem(PICTURE, query=TextQuery(text=("a red circle",))),
    ),
    ENCODE_IMAGE.rpc: (schema.EncodeImageParams(), PictureItem(PICTURE)),
    EXTRACT_DINO.rpc: (schema.DinoExtractFeaturesParams(), PictureItem(PICTURE)),
}
MASKS: dict[str, tuple[BaseModel, Item]] = {
    GENERATE_MASKS.rpc: (schema.GenerateMasksParams(points_per_side=1), PictureItem(PICTURE)),
    PREDICT_MASKS.rpc: (schema.PredictMasksParams(), PromptItem(PICTURE)),
}
WORDS: dict[str, tuple[BaseModel, Item]] = {
    ENCODE_TEXT.rpc: (schema.EncodeTextParams(), TextItem(Texts(text=("a red circle",)))),
}
EVERY = DENSE | MASKS | WORDS


def work(engines: Engines, operation: str, count: int) -> Work:
    """Equal items of one batch, prepared."""
    params, item = EVERY[operation]
    model = models.demo_key(operation)
    loaded = engines.load(model)
    prepared = []
    for number in range(count):
        value = engines.prepare(operation, item, params, loaded)
        batch_item = BatchItem(number, str(number), item, None)
        prepared.append(PreparedItem(batch_item, value, engines.batch_key(value), engines.pixels(value), 0.0))
    batch_items = tuple(each.batch_item for each in prepared)
    return Work(RunBatch(1, operation, model, params, batch_items), loaded, prepared)


@pytest.mark.parametrize("operation", [*DENSE, *MASKS])
def test_a_picture_is_answered_before_the_next_is_computed(engines: Engines, operation: str) -> None:
    answers: list[Outcome] = []

    # The second caller leaves when the first has its answer: no work may go into the second any more.
    class Host:
        queue = WorkQueue[Work]()

        def answer_computed(self, *outcomes: Outcome) -> None:
            answers.extend(outcomes)

        def answer_pass(self, answers: ComputedPass) -> None:
            self.answer_computed(*answers.outcomes())

        def is_wanted(self, item: BatchItem) -> bool:
            return not (answers and item.id == 1)

        def is_presumed(self, batch: int) -> bool:
            return True

        def tell(self, message: GoesOn | Computes) -> None:
            """Nobody listens."""

        def finish_writing(self) -> bool:
            return False

        def make_room(self) -> bool:
            return False

        def done_with(self, work: Work) -> None:
            """The model stays."""

    Compute(engines, 1 << 40, 600.0, Host()).run(work(engines, operation, 3))
    assert [(each.item, each.skipped, each.error) for each in answers] == [
        (0, False, None),
        (1, True, None),
        (2, False, None),
    ]


def keys(engines: Engines, operation: str) -> set[object]:
    return {each.key for each in work(engines, operation, 3).items}


@pytest.mark.parametrize("operation", list(MASKS))
def test_searches_and_prompts_never_share_a_run(operation: str) -> None:
    for device in ("cpu", GPU):
        assert len(keys(on(device), operation)) == 3


def on(device: str) -> Engines:
    """Engines that prepare for a device, which need not be there, and load models on the CPU."""
    plain = models.engines()

    class Elsewhere(Engines):
        def load(self, model: str) -> Loaded:
            return plain.load(model)

    return Elsewhere(EngineOptions(device=device, offline=True), plain.families, plain.kept, plain.joint)


@pytest.mark.parametrize("operation", list(DENSE))
def test_pictures_share_a_pass_on_a_gpu_only(operation: str) -> None:
    assert len(keys(on("cpu"), operation)) == 3
    assert len(keys(on(GPU), operation)) == 1


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_texts_share_a_run_anywhere(device: str) -> None:
    assert len(keys(on(device), ENCODE_TEXT.rpc)) == 1


@pytest.mark.parametrize("operation", [EXTRACT_CLIP.rpc, EXTRACT_DINO.rpc])
def test_pictures_of_other_padded_sizes_are_of_other_passes(operation: str) -> None:
    engines, params = on(GPU), EVERY[operation][0]
    loaded = engines.load(models.demo_key(operation))
    small, same, large = (
        engines.batch_key(engines.prepare(operation, models.picture_item(*size), params, loaded))
        for size in ((64, 48), (60, 44), (100, 48))
    )
    assert small == same != large
