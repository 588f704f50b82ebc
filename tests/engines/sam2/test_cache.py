"""SAM2 encodes a picture once, however often it is asked about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from featsvc.engines.registry import Engines
from featsvc.engines.running.cache import CacheStats
from featsvc.engines.sam2 import view as sam2_view
from featsvc.engines.sam2.embedding import Embedding, encoded_together
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import EmbedImageParams, GenerateMasksParams, Orientation, PredictMasksParams, Prompt
from featsvc.work.item import Item, PromptItem
from featsvc.work.operations import EMBED_IMAGE, GENERATE_MASKS, PREDICT_MASKS
from featsvc.work.results import EmbeddedImage, MaskList, PromptMasks, PromptResults
from tests.engines import models

PREDICT, GENERATE, EMBED = PREDICT_MASKS.rpc, GENERATE_MASKS.rpc, EMBED_IMAGE.rpc
DIGEST = "sha256:one"
PROMPTS = (Prompt(point_coords=((40.0, 30.0),), point_labels=(1,)),)
PICTURE = models.encoded(models.picture(130, 90))
ITEM = PromptItem(PICTURE, prompts=PROMPTS, digest=DIGEST)
# What is not decoded cannot be found damaged.
UNREADABLE = replace(ITEM, image=b"no picture")
SEARCH = GenerateMasksParams(
    points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, crop_nms_thresh=1
)
IN_CROPS = SEARCH.model_copy(update={"crop_n_layers": 1})


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of what the encoder has seen."""
    sizes: list[tuple[int, int]] = []

    def recorded(
        network: object, pixels: object, own: list[tuple[int, int]], encode: object
    ) -> list[Embedding]:
        sizes.extend(own)
        return encoded_together(network, pixels, own, encode)

    monkeypatch.setattr(sam2_view, "encoded_together", recorded)
    return sizes


def predicted(engines: Engines, model: Sam2Model, item: PromptItem) -> PromptMasks:
    (result,) = answered(engines, model, item).results
    return result


def answered(engines: Engines, model: Sam2Model, item: PromptItem) -> PromptResults:
    return models.prompted(engines, item, PredictMasksParams(), model)


def generated(engines: Engines, model: Sam2Model, item: Item, params: GenerateMasksParams) -> MaskList:
    return models.answer(engines, GENERATE, item, params, model)


def stats(engines: Engines) -> CacheStats:
    return next(each for each in engines.caches() if each.name == "sam2_embeddings")


def same(one: PromptMasks, other: PromptMasks) -> bool:
    return one.low_res_masks.tobytes() == other.low_res_masks.tobytes()


def test_a_second_question_neither_decodes_nor_encodes(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    first = predicted(engines, small_sam2, ITEM)
    again = answered(engines, small_sam2, UNREADABLE)
    assert same(first, again.results[0])
    assert (again.height, again.width) == (90, 130)
    assert encodings == [(90, 130)]
    assert (stats(engines).hits, stats(engines).misses, stats(engines).entries) == (1, 1, 1)


def test_answers_are_those_without_a_cache(small_sam2: Sam2Model) -> None:
    engines = models.engines()
    predicted(engines, small_sam2, ITEM)
    uncached = predicted(models.engines(embedding_cache=0), small_sam2, ITEM)
    assert same(predicted(engines, small_sam2, ITEM), uncached)
    assert same(predicted(engines, small_sam2, replace(ITEM, digest="")), uncached)


def test_requests_that_wait_for_the_same_new_picture_encode_it_once(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    waiting = [engines.prepare(PREDICT, ITEM, PredictMasksParams(), small_sam2) for _ in range(3)]
    for prepared in waiting:
        engines.run(PREDICT, [prepared], PredictMasksParams(), small_sam2)
    assert len(encodings) == 1
    assert (stats(engines).hits, stats(engines).misses) == (2, 1)


def test_all_operations_share_one_embedding(small_sam2: Sam2Model, encodings: list[tuple[int, int]]) -> None:
    engines = models.engines()
    predicted(engines, small_sam2, ITEM)
    assert generated(engines, small_sam2, UNREADABLE, SEARCH).masks
    assert models.answer(engines, EMBED, UNREADABLE, EmbedImageParams(), small_sam2)
    assert len(encodings) == 1


def test_embedding_ahead_says_what_it_takes_and_whether_it_was_there(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    first, again = (models.answer(engines, EMBED, ITEM, EmbedImageParams(), small_sam2) for _ in range(2))
    nbytes = stats(engines).nbytes
    assert nbytes > 100_000
    assert first == EmbeddedImage(nbytes, False, 90, 130)
    assert again == EmbeddedImage(nbytes, True, 90, 130)
    predicted(engines, small_sam2, UNREADABLE)
    assert len(encodings) == 1


def test_crops_are_kept_too(small_sam2: Sam2Model, encodings: list[tuple[int, int]]) -> None:
    engines = models.engines()
    first = generated(engines, small_sam2, ITEM, IN_CROPS)
    assert len(encodings) == stats(engines).entries == 5
    again = generated(engines, small_sam2, UNREADABLE, IN_CROPS)
    assert len(encodings) == 5
    assert len(first.masks) == len(again.masks) > 0
    for one, other in zip(first.masks, again.masks, strict=True):
        assert one.bbox == other.bbox
        assert one.predicted_iou == other.predicted_iou


def test_the_picture_is_decoded_where_only_a_crop_is_unknown(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    predicted(engines, small_sam2, ITEM)
    generated(engines, small_sam2, ITEM, IN_CROPS)
    assert len(encodings) == 5


def test_an_eviction_between_preparing_and_running_costs_nothing(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    expected = predicted(engines, small_sam2, ITEM)
    prepared = engines.prepare(PREDICT, UNREADABLE, PredictMasksParams(), small_sam2)
    for cache in engines.kept:
        cache.clear()
    (answer,) = engines.run(PREDICT, [prepared], PredictMasksParams(), small_sam2)
    assert isinstance(answer, PromptResults)
    assert same(answer.results[0], expected)
    assert len(encodings) == 1


def test_pictures_without_a_name_are_not_kept(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    for _ in range(2):
        predicted(engines, small_sam2, replace(ITEM, digest=""))
        generated(engines, small_sam2, replace(ITEM, digest=""), SEARCH)
    assert len(encodings) == 4
    assert stats(engines).entries == 0


def test_the_least_recently_asked_picture_goes_first(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    predicted(probe := models.engines(), small_sam2, ITEM)
    engines = models.engines(embedding_cache=2 * stats(probe).nbytes)
    encodings.clear()
    for name in ("one", "two", "one", "three", "one", "two"):
        predicted(engines, small_sam2, replace(ITEM, digest=name))
    assert len(encodings) == 4
    assert (stats(engines).evictions, stats(engines).entries) == (2, 2)


def test_a_picture_larger_than_the_cache_is_answered_and_not_kept(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines(embedding_cache=1000)
    assert same(predicted(engines, small_sam2, ITEM), predicted(engines, small_sam2, ITEM))
    assert len(encodings) == 2
    assert stats(engines).nbytes == 0


def test_each_network_has_its_own_embeddings(
    small_sam2: Sam2Model, demo_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    # Of the same name, but from other files.
    assert small_sam2.entry.key == demo_sam2.entry.key
    assert not same(predicted(engines, small_sam2, ITEM), predicted(engines, demo_sam2, ITEM))
    reloaded = engines.load("demo-sam2")
    predicted(engines, reloaded, UNREADABLE)
    assert len(encodings) == 2


def test_memory_that_runs_out_is_taken_from_the_cache(
    small_sam2: Sam2Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = models.engines()
    expected = predicted(engines, small_sam2, ITEM)
    predicted(engines, small_sam2, replace(ITEM, digest="other"))
    plain = small_sam2.network.sam_mask_decoder.forward

    def hungry(**inputs: object) -> object:
        if stats(engines).nbytes:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        return plain(**inputs)

    monkeypatch.setattr(small_sam2.network.sam_mask_decoder, "forward", hungry)
    assert same(predicted(engines, small_sam2, UNREADABLE), expected)
    assert stats(engines).nbytes == 0
    assert np.isfinite(expected.low_res_masks).all()


def test_a_picture_as_stored_and_as_shown_are_two_and_both_tell_their_orientation(
    small_sam2: Sam2Model, encodings: list[tuple[int, int]]
) -> None:
    engines = models.engines()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = replace(ITEM, image=models.encoded(models.picture(130, 90), exif=exif))
    shown = replace(stored, orientation=Orientation.SHOWN)
    for _ in range(2):
        sizes = [
            (each.height, each.width, each.image_orientation)
            for each in (answered(engines, small_sam2, item) for item in (stored, shown))
        ]
        assert sizes == [(90, 130, 6), (130, 90, 6)]
    assert encodings == [(90, 130), (130, 90)]
    crops = [generated(engines, small_sam2, item, IN_CROPS).image_orientation for item in (stored, shown)]
    assert crops == [6, 6]
