"""Each field of the objects' parameters does what it is documented to do; those of masks what they do for SAM2."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from featsvc.engines.registry import Engines
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem
from featsvc.work.operations import GENERATE_MASKS
from tests.engines import models
from tests.engines.objects.test_describe import BOXES, CLIP_CROP, CONTENT, FEW, described
from tests.engines.objects.test_find import found
from tests.engines.test_parameters import CHANGES, Change, Effect

MASKS = {
    name: change
    for name, change in CHANGES[S.GenerateMasksParams].items()
    if change.effect is not Effect.MODEL
}
# Of these some lie in larger ones.
NESTED = {"points_per_side": 8, "pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
OBJECTS = {
    "describe": Change([{"dino": {}, "crop": {}}]),
    "descriptor_dtype": Change("float16"),
    "containment": Change(0.5),
    "recipe": Change("conceptgraphs"),
    "granularities": Change(["part"], FEW),
    "mask_nms_thresh": Change(0.2, FEW),
    "inner_nms_thresh": Change(1.0, NESTED),
    "mask_score_thresh": Change(0.6, FEW),
}
PEAKS = {"search": "peaks", "describe": [{"clip": {}, "pooled": {}}], "min_score": -1.0}
FIND = {
    "search": Change("peaks", PEAKS),
    "min_score": Change(0.99),
    "max_matches": Change(1, {"min_score": -1.0}),
    "max_overlap": Change(0.01, {"min_score": -1.0}),
    "relevancy_scale": Change(2.0, {"min_score": 0.0}),
    "max_peaks": Change(1, PEAKS),
    "ret_text_map": Change(True),
    "templates": Change(["a drawing of {}"]),
    "template_set": Change("simple"),
}
MODELS = {"model_cfg", "checkpoint_path"}


def differ(one: Any, other: Any) -> bool:
    """Whether two answers have other numbers."""
    try:
        np.testing.assert_equal(asdict(one), asdict(other))
    except AssertionError:
        return True
    return False


def test_no_field_is_left_out() -> None:
    assert set(S.DescribeObjectsParams.model_fields) == {*MODELS, *MASKS, *OBJECTS}
    assert set(S.FindObjectsParams.model_fields) == {*MODELS, *MASKS, *OBJECTS, *FIND}


@pytest.mark.slow
@pytest.mark.parametrize("name", MASKS)
def test_masks_are_those_of_sam2_with_the_same_field(engines: Engines, name: str) -> None:
    change = MASKS[name]
    given = {**FEW, **change.within, name: change.value}
    given = {key: value for key, value in given.items() if key != change.instead_of}
    objects = described(engines, **given)
    settle: Any = GENERATE_MASKS.settled
    params = settle(S.GenerateMasksParams.model_validate(given))
    alone: Any = models.answer(
        engines, GENERATE_MASKS.rpc, PictureItem(CONTENT), params, engines.load("demo-sam2")
    )
    assert alone.masks
    np.testing.assert_equal([asdict(each.mask) for each in objects.objects], list(map(asdict, alone.masks)))


@pytest.mark.parametrize("name", OBJECTS)
def test_a_field_changes_how_objects_are_described(engines: Engines, name: str) -> None:
    change = OBJECTS[name]
    source = None if change.within else {"boxes": [[10, 12, 70, 60], [20, 20, 45, 80]]}
    base = {"describe": [CLIP_CROP], **change.within}
    changed = {**base, name: change.value}
    assert differ(*(described(engines, source, **params) for params in (base, changed)))


@pytest.mark.parametrize("name", FIND)
def test_a_field_changes_what_is_found(engines: Engines, name: str) -> None:
    change = FIND[name]
    query = {"text": ["a red circle", "a blue star"], "negative_text": ["a tree"]}
    base = {"describe": [CLIP_CROP], **FEW, **change.within}
    base = {key: value for key, value in base.items() if key != name or name == "min_score"}
    source = None if "search" in {name, *change.within} else {"boxes": BOXES}
    before, after = (found(engines, query, source, **{**base, **more}) for more in ({}, {name: change.value}))
    assert differ(before, after)
