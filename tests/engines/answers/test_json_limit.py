"""Answers that end as JSON: their arrays are counted as they will be there, before the work where that can be said."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.engines.answers.mask_encoding import MOST_LABELS, check_labels, in_json
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.mask_list import MaskWriter
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.server.calls.call import JSON_LIMIT, _json
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    ComputeSimilarityParams,
    GenerateMasksParams,
    MaskEncoding,
    PredictMasksParams,
    TextQuery,
)
from featsvc.work.item import Json, PictureItem, PromptItem, QueryItem, Way
from featsvc.work.operations import COMPUTE_SIMILARITY, EXTRACT_CLIP, GENERATE_MASKS, PREDICT_MASKS
from tests.engines import models

WIDTH, HEIGHT = 60, 40
FILE = models.encoded(models.picture(WIDTH, HEIGHT))


def item(max_bytes: int, float_masks: bool = False) -> PromptItem:
    return PromptItem(FILE, way=Way(json=Json(max_bytes, float_masks)))


def test_masks_of_prompts_count_as_floats_before_the_picture_is_encoded(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    params = PredictMasksParams(return_low_res=False)
    needed = 3 * 4 + 3 * HEIGHT * WIDTH * 4
    engines.prepare(PREDICT_MASKS.rpc, item(needed, True), params, small_sam2)
    engines.prepare(PREDICT_MASKS.rpc, item(needed // 20), params, small_sam2)
    with pytest.raises(
        ReplyTooLarge, match=rf"{needed} bytes, at most {needed - 1} in JSON.*mask_encoding bits"
    ):
        engines.prepare(PREDICT_MASKS.rpc, item(needed - 1, True), params, small_sam2)


def test_features_and_maps_are_judged_before_the_work(
    engines: Engines, request: pytest.FixtureRequest
) -> None:
    clip = request.getfixturevalue("demo_clip")
    params = ClipExtractFeaturesParams(load_size=-1)
    with pytest.raises(ReplyTooLarge, match=r"in JSON.*Accept: application/octet-stream"):
        engines.prepare(EXTRACT_CLIP.rpc, item(100), params, clip)
    query = QueryItem(FILE, query=TextQuery(text=("a",)), way=Way(json=Json(10)))
    with pytest.raises(ReplyTooLarge, match=r"in JSON.*smaller load_size"):
        engines.prepare(COMPUTE_SIMILARITY.rpc, query, ComputeSimilarityParams(load_size=-1), clip)


def test_automatic_masks_count_as_floats_before_they_are_written(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    params = GenerateMasksParams(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    found = models.answer(engines, GENERATE_MASKS.rpc, item(1 << 40, True), params, small_sam2)
    needed = len(found.masks) * HEIGHT * WIDTH * 4
    assert needed
    with pytest.raises(ReplyTooLarge, match=rf"{needed} bytes, at most {needed - 1} in JSON.*coco_rle"):
        models.answer(engines, GENERATE_MASKS.rpc, item(needed - 1, True), params, small_sam2)
    # As bits they fit.
    models.answer(engines, GENERATE_MASKS.rpc, item(needed - 1), params, small_sam2)


def test_only_bits_become_floats() -> None:
    assert in_json(MaskEncoding.BITS, Way(json=Json(1, True))) is MaskEncoding.FLOAT32
    assert in_json(MaskEncoding.BITS, Way(json=Json(1))) is MaskEncoding.BITS
    assert in_json(MaskEncoding.LABEL_MAP, Way(json=Json(1, True))) is MaskEncoding.LABEL_MAP
    assert in_json(MaskEncoding.BITS, Way()) is MaskEncoding.BITS


def test_a_map_of_labels_has_numbers_for_no_more_masks_than_fit() -> None:
    assert np.iinfo(np.uint16).max == MOST_LABELS == 65535
    check_labels(65535)
    with pytest.raises(
        InvalidFields, match=r"params\.mask_encoding: .*65535 masks, and more were found.*coco_rle"
    ):
        check_labels(65536)


@pytest.mark.parametrize("layers", [0, 1])
def test_of_many_masks_more_than_labels_are_refused_when_there_is_one_too_many(
    engines: Engines, small_sam2: Sam2Model, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    monkeypatch.setattr("featsvc.engines.answers.mask_encoding.MOST_LABELS", 1)
    monkeypatch.setattr("featsvc.engines.sam2.generate.MOST_BOXES", 1)
    monkeypatch.setattr(MaskWriter, "mask_list", lambda *given: pytest.fail("all were compared first"))
    params = GenerateMasksParams(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0,
        crop_nms_thresh=1.0, crop_n_layers=layers, mask_encoding=MaskEncoding.LABEL_MAP,
    )  # fmt: skip
    with pytest.raises(InvalidFields, match="label_map has numbers for 1 masks"):
        models.answer(engines, GENERATE_MASKS.rpc, PictureItem(FILE), params, small_sam2)


def test_more_masks_than_labels_are_refused_before_one_is_drawn(
    engines: Engines, small_sam2: Sam2Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featsvc.engines.answers.mask_encoding.MOST_LABELS", 1)
    monkeypatch.setattr("featsvc.engines.answers.rle.bitmap", lambda *mask: pytest.fail("a mask was drawn"))
    params = GenerateMasksParams(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0,
        mask_encoding=MaskEncoding.LABEL_MAP,
    )  # fmt: skip
    with pytest.raises(InvalidFields, match="label_map has numbers for 1 masks"):
        models.answer(engines, GENERATE_MASKS.rpc, PictureItem(FILE), params, small_sam2)


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("1000", Json(1000)),
        ("1000; masks=float32", Json(1000, True)),
        ("1000; masks=bits", None),
        ("-1", None),
        ("9" * 19, None),
        ("", None),
    ],
)
def test_the_header_of_the_rest_shim_is_read_strictly(header: str, meant: Json | None) -> None:
    assert _json(header) == meant
    assert bool(JSON_LIMIT.fullmatch(header)) == (meant is not None)
