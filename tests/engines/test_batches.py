"""Which items share a run: only those that are faster together; all others are answered as soon as they are done."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.pool.contract.messages import BatchItem, Outcome, RunBatch
from featsvc.pool.worker.compute import Compute, PreparedItem, Work
from featsvc.pool.worker.pauses import WorkQueue
from featsvc.v1 import schema
from featsvc.v1.schema import TextQuery, Texts
from featsvc.work.item import Item
from featsvc.work.options import EngineOptions
from tests.engines import models

PICTURE = models.encoded(models.picture(64, 48))
DENSE: dict[str, tuple[BaseModel, Item]] = {
    "clip.extract_features": (schema.ClipExtractFeaturesParams(load_size=-1), Item(PICTURE)),
    "clip.compute_similarity": (
        schema.ComputeSimilarityParams(load_size=-1),
        Item(PICTURE, texts=TextQuery(text=("a red circle",))),
    ),
    "clip.encode_image": (schema.EncodeImageParams(), Item(PICTURE)),
    "dino.extract_features": (schema.DinoExtractFeaturesParams(), Item(PICTURE)),
}
MASKS: dict[str, tuple[BaseModel, Item]] = {
    "sam2.generate_masks": (schema.GenerateMasksParams(points_per_side=1), Item(PICTURE)),
    "sam2.predict_masks": (schema.PredictMasksParams(), Item(PICTURE)),
}
WORDS: dict[str, tuple[BaseModel, Item]] = {
    "clip.encode_text": (schema.EncodeTextParams(), Item(texts=Texts(text=("a red circle",)))),
}
EVERY = DENSE | MASKS | WORDS


def work(engines: Engines, operation: str, count: int) -> Work:
    """Equal items of one batch, prepared."""
    params, item = EVERY[operation]
    model = f"demo-{operation.split('.')[0]}"
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

        def is_wanted(self, item: BatchItem) -> bool:
            return not (answers and item.id == 1)

        def goes_on(self, batch: int, computes: bool) -> None:
            """Nobody listens."""

        def done_with(self, work: Work) -> None:
            """The model stays."""

    Compute(engines, 1 << 40, Host()).run(work(engines, operation, 3))
    assert [(each.item, each.skipped, each.error) for each in answers] == [
        (0, False, None),
        (1, True, None),
        (2, False, None),
    ]


def keys(engines: Engines, operation: str) -> set[object]:
    return {each.key for each in work(engines, operation, 3).items}


@pytest.mark.parametrize("operation", list(MASKS))
def test_searches_and_prompts_never_share_a_run(operation: str) -> None:
    for device in ("cpu", "cuda:0"):
        assert len(keys(on(device), operation)) == 3


def on(device: str) -> Engines:
    """Engines that prepare for a device, which need not be there, and load models on the CPU."""
    plain = models.engines()

    class Elsewhere(Engines):
        def load(self, model: str) -> Loaded:
            return plain.load(model)

    return Elsewhere(EngineOptions(device=device, offline=True), plain.families, plain.kept)


@pytest.mark.parametrize("operation", list(DENSE))
def test_pictures_share_a_pass_on_a_gpu_only(operation: str) -> None:
    assert len(keys(on("cpu"), operation)) == 3
    assert len(keys(on("cuda:0"), operation)) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_texts_share_a_run_anywhere(device: str) -> None:
    assert len(keys(on(device), "clip.encode_text")) == 1


@pytest.mark.parametrize("operation", ["clip.extract_features", "dino.extract_features"])
def test_pictures_of_other_padded_sizes_are_of_other_passes(operation: str) -> None:
    engines, params = on("cuda:0"), EVERY[operation][0]
    loaded = engines.load(f"demo-{operation.split('.')[0]}")
    small, same, large = (
        engines.batch_key(engines.prepare(operation, models.picture_item(*size), params, loaded))
        for size in ((64, 48), (60, 44), (100, 48))
    )
    assert small == same != large
