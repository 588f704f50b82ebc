"""Masks are the same in every form that a reply may have, and no reply is larger than it may be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import GenerateMasksParams, PredictMasksParams, Prompt
from featsvc.work.item import PictureItem, PromptItem, Way
from featsvc.work.operations import GENERATE_MASKS, PREDICT_MASKS
from featsvc.work.results import MaskList, Png, PromptMasks, Rle
from tests.engines import models

# An odd width, so that rows of bits end within a byte.
WIDTH, HEIGHT = 149, 100
OPTIONS = {
    "points_per_side": 5,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.4,
    "stability_score_offset": 0.02,
    "box_nms_thresh": 1.0,
}
PROMPTS = (Prompt(point_coords=((40.0, 45.0),), point_labels=(1,)), Prompt(box=(10, 12, 80, 70)))
# pycocotools has not caught up with numpy 2's __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def generated(engines: Engines, model: Sam2Model, chunked: bool = False, **options: object) -> MaskList:
    item = PictureItem(models.encoded(models.picture(WIDTH, HEIGHT)), way=Way(chunked))
    params = GenerateMasksParams(**OPTIONS, **options)
    return models.answer(engines, GENERATE_MASKS.rpc, item, params, model)


def predicted(
    engines: Engines, model: Sam2Model, chunked: bool = False, **options: object
) -> tuple[PromptMasks, ...]:
    item = PromptItem(models.encoded(models.picture(WIDTH, HEIGHT)), prompts=PROMPTS, way=Way(chunked))
    return models.prompted(engines, item, PredictMasksParams(**options), model).results


def decoded(pixels: object) -> np.ndarray:
    """H x W booleans from any form of one mask."""
    match pixels:
        case Rle(counts=str()):
            return coco.decode({"size": list(pixels.size), "counts": pixels.counts}).astype(bool)
        case Png():
            with Image.open(io.BytesIO(pixels.content)) as picture:
                assert (picture.format, picture.mode) == ("PNG", "1")
                return np.array(picture)
        case np.ndarray():
            assert pixels.dtype == np.float32
            assert set(np.unique(pixels)) <= {0, 1}
            return pixels.astype(bool)
        case _:
            return models.unpacked(pixels)


def drawn(masks: list[np.ndarray], scores: list[float]) -> np.ndarray:
    """A label map, one pixel at a time."""
    best = np.zeros((HEIGHT, WIDTH), np.int64)
    for y, x in np.ndindex(HEIGHT, WIDTH):
        there = [index for index, mask in enumerate(masks) if mask[y, x]]
        best[y, x] = 1 + max(there, key=lambda index: (scores[index], -index)) if there else 0
    return best


@pytest.mark.parametrize("encoding", ["coco_rle", "png", "float32"])
def test_automatic_masks_are_the_same_in_every_encoding(
    engines: Engines, small_sam2: Sam2Model, encoding: str
) -> None:
    bits = generated(engines, small_sam2)
    other = generated(engines, small_sam2, mask_encoding=encoding)
    assert len(bits.masks) == len(other.masks) >= 2
    for one, two in zip(bits.masks, other.masks, strict=True):
        np.testing.assert_array_equal(decoded(two.segmentation), models.unpacked(one.segmentation))
        assert (one.area, one.bbox, one.predicted_iou) == (two.area, two.bbox, two.predicted_iou)
        assert one.area == models.unpacked(one.segmentation).sum()
    assert other.label_map is None


@pytest.mark.parametrize("encoding", ["coco_rle", "png", "float32"])
def test_masks_of_prompts_are_the_same_in_every_encoding(
    engines: Engines, small_sam2: Sam2Model, encoding: str
) -> None:
    bits = predicted(engines, small_sam2)
    other = predicted(engines, small_sam2, mask_encoding=encoding)
    for one, two in zip(bits, other, strict=True):
        np.testing.assert_array_equal([decoded(each) for each in two.masks], models.unpacked(one.masks))
        np.testing.assert_array_equal(one.low_res_masks, two.low_res_masks)


def test_a_label_map_shows_the_best_automatic_mask_of_each_pixel(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    bits = generated(engines, small_sam2)
    labelled = generated(engines, small_sam2, mask_encoding="label_map")
    assert {each.segmentation for each in labelled.masks} == {None}
    assert [each.area for each in labelled.masks] == [each.area for each in bits.masks]
    masks = [models.unpacked(each.segmentation) for each in bits.masks]
    assert labelled.label_map.dtype == np.uint16
    scores = [each.predicted_iou for each in bits.masks]
    np.testing.assert_array_equal(labelled.label_map, drawn(masks, scores))
    assert len(np.unique(labelled.label_map)) >= 3


def test_a_label_map_shows_the_best_mask_of_a_prompt(engines: Engines, small_sam2: Sam2Model) -> None:
    bits = predicted(engines, small_sam2)
    for one, two in zip(bits, predicted(engines, small_sam2, mask_encoding="label_map"), strict=True):
        expected = drawn(list(models.unpacked(one.masks)), one.iou_predictions.tolist())
        np.testing.assert_array_equal(two.label_map, expected)
        assert two.masks is None


def test_low_resolution_logits_stay_away_where_nobody_wants_them(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    for answer in predicted(engines, small_sam2, return_low_res=False):
        assert answer.low_res_masks is None
        assert decoded(answer.masks).any()


def test_output_modes_are_one_mask_in_three_forms(engines: Engines, small_sam2: Sam2Model) -> None:
    bitmaps, runs, texts = (
        generated(engines, small_sam2, output_mode=mode).masks
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert len(bitmaps) == len(runs) == len(texts) >= 2
    for bitmap, run, text in zip(bitmaps, runs, texts, strict=True):
        assert isinstance(run.segmentation, Rle)
        assert isinstance(text.segmentation, Rle)
        height, width = run.segmentation.size
        theirs = {"size": [height, width], "counts": list(run.segmentation.counts)}
        as_text = coco.frPyObjects(theirs, height, width)
        np.testing.assert_array_equal(coco.decode(as_text), decoded(bitmap.segmentation))
        assert text.segmentation.counts == as_text["counts"].decode()
        assert bitmap.area == run.area == text.area == coco.area(as_text)


def test_a_preset_takes_any_encoding(engines: Engines, small_sam2: Sam2Model) -> None:
    labelled = generated(engines, small_sam2, preset="coarse", mask_encoding="label_map")
    assert labelled.label_map is not None


def bytes_of_bits(count: int) -> int:
    return count * HEIGHT * ((WIDTH + 7) // 8)


SIZES = {
    "bits": bytes_of_bits,
    "float32": lambda count: count * HEIGHT * WIDTH * 4,
    "label_map": lambda count: HEIGHT * WIDTH * 2,
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", list(SIZES))
def test_automatic_masks_over_the_limit_are_refused_with_their_exact_size(
    small_sam2: Sam2Model, encoding: str, chunked: bool
) -> None:
    count = len(generated(models.engines(), small_sam2).masks)
    needed, limit = SIZES[encoding](count), "max_chunked_bytes" if chunked else "max_reply_bytes"
    few = {"max_chunked_bytes": 10, "max_reply_bytes": 10}
    enough = models.engines(**{**few, limit: needed})
    assert generated(enough, small_sam2, chunked, mask_encoding=encoding).masks
    short = models.engines(**{**few, limit: needed - 1})
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes, at most {needed - 1}: .*coco_rle makes it fit"):
        generated(short, small_sam2, chunked, mask_encoding=encoding)


@pytest.mark.parametrize("encoding", ["coco_rle", "png"])
def test_files_and_run_lengths_over_the_limit_are_refused_too(small_sam2: Sam2Model, encoding: str) -> None:
    masks = generated(models.engines(), small_sam2, mask_encoding=encoding).masks
    parts = [each.segmentation for each in masks]
    needed = sum(len(part.counts if isinstance(part, Rle) else part.content) for part in parts)
    assert generated(models.engines(max_reply_bytes=needed), small_sam2, mask_encoding=encoding).masks
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes, at most {needed - 1}: .*fewer masks"):
        generated(models.engines(max_reply_bytes=needed - 1), small_sam2, mask_encoding=encoding)


@pytest.mark.parametrize("low_res", [False, True])
@pytest.mark.parametrize("encoding", list(SIZES))
def test_masks_of_prompts_over_the_limit_are_refused_before_the_device_works(
    small_sam2: Sam2Model, encoding: str, low_res: bool
) -> None:
    options = {"mask_encoding": encoding, "return_low_res": low_res}
    needed = 2 * (SIZES[encoding](3) + 3 * 4 + low_res * 3 * 64 * 64 * 4)
    assert predicted(models.engines(max_reply_bytes=needed), small_sam2, **options)
    few = models.engines(max_reply_bytes=needed - 1)
    item = PromptItem(models.encoded(models.picture(WIDTH, HEIGHT)), prompts=PROMPTS)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes, at most {needed - 1}: fewer prompts"):
        few.prepare(PREDICT_MASKS.rpc, item, PredictMasksParams(**options), small_sam2)
    assert predicted(
        models.engines(max_reply_bytes=10, max_chunked_bytes=needed), small_sam2, True, **options
    )


def test_files_of_prompts_over_the_limit_are_refused_too(small_sam2: Sam2Model) -> None:
    answers = predicted(models.engines(), small_sam2, mask_encoding="png", return_low_res=False)
    needed = sum(len(each.content) for answer in answers for each in answer.masks) + 2 * 3 * 4
    options = {"mask_encoding": "png", "return_low_res": False}
    assert predicted(models.engines(max_reply_bytes=needed), small_sam2, **options)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes, at most {needed - 1}: fewer prompts"):
        predicted(models.engines(max_reply_bytes=needed - 1), small_sam2, **options)


def test_bitmaps_that_memory_cannot_hold_are_refused_and_run_lengths_are_not(small_sam2: Sam2Model) -> None:
    needed = len(generated(models.engines(), small_sam2).masks) * WIDTH * HEIGHT
    generated(models.engines(max_mask_bytes=needed), small_sam2)
    few = models.engines(max_mask_bytes=needed - 1)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes of memory, at most {needed - 1}: .*coco_rle"):
        generated(few, small_sam2)
    assert generated(few, small_sam2, output_mode="coco_rle").masks
    assert generated(few, small_sam2, mask_encoding="coco_rle").masks
