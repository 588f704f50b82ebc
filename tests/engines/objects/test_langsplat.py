"""LangSplat against what its code does, written down plainly: a search for each list, a double loop over masks."""

from __future__ import annotations

from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.answers import rle
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.objects import describing
from featsvc.engines.objects.overlaps import intersections
from featsvc.engines.objects.suppression import unsuppressed
from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import InvalidFields
from featsvc.v1 import schema as S
from featsvc.work.item import ObjectItem, PictureItem
from featsvc.work.objects import objects_in_force
from featsvc.work.operations import DESCRIBE_OBJECTS, ENCODE_IMAGE
from featsvc.work.results import DescribedObject, ObjectList
from tests.engines import models, upstream

PICTURE = models.picture(320, 250)
PIXELS = np.array(PICTURE)
# Random weights predict no high quality, and their masks are not stable.
SEARCH = {"points_per_side": 4, "pred_iou_thresh": 0.2, "stability_score_thresh": 0.2}
CROPS = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
LOOSE = {
    "crop_n_layers": 0,
    "min_mask_region_area": 0,
    "mask_score_thresh": 0.15,
    **SEARCH,
    "recipe": "langsplat",
}
LISTS = ("all", "subpart", "part", "whole")
Masks = NDArray[np.bool_]


def answer(engines: Engines, loaded: Any, **params: Any) -> ObjectList:
    settled = objects_in_force(S.DescribeObjectsParams.model_validate({"mask_encoding": "bits", **params}))
    item = ObjectItem(models.encoded(PICTURE))
    result = models.answer(engines, DESCRIBE_OBJECTS.rpc, item, settled, engines.together(loaded))
    assert isinstance(result, ObjectList)
    return result


def searched(model: Sam2Model, output: int | None, **options: Any) -> list[dict[str, Any]]:
    """What sam2's generator makes of all masks of its points, or of one of each."""
    generator = upstream.generator(model, point_grids=None, **SEARCH, **options)
    predict = generator.predictor._predict
    if output is not None:
        own = slice(output, output + 1)
        generator.predictor._predict = lambda *args, **named: tuple(
            each[:, own] if each.shape[1] > 1 else each for each in predict(*args, **named)
        )
    found: list[dict[str, Any]] = generator.generate(PIXELS)
    return found


def by_double_loop(masks: Masks, scores: NDArray[np.float64], params: S.DescribeObjectsParams) -> list[int]:
    """Indices of those that stay, each compared with each."""
    order = sorted(range(len(masks)), key=lambda index: -scores[index])
    stays = {index: scores[index] > params.mask_score_thresh for index in order}
    for i, j in product(range(len(order)), repeat=2):
        if i >= j:
            continue
        better, worse = masks[order[i]], masks[order[j]]
        both, area_i, area_j = (better & worse).sum(), better.sum(), worse.sum()
        if both / (better | worse).sum() > params.mask_nms_thresh:
            stays[order[j]] = False
        inner = 1 - both / area_i * both / area_j
        if both / area_i < 0.5 and both / area_j >= 0.85 and inner > 1 - params.inner_nms_thresh:
            stays[order[j]] = False
        if both / area_i >= 0.85 and both / area_j < 0.5 and inner > 1 - params.inner_nms_thresh:
            stays[order[i]] = False
    return [index for index in range(len(masks)) if stays[index]]


def crop_of(mask: dict[str, Any]) -> Image.Image:
    """As LangSplat shows a mask to CLIP: black around it, in a square, by OpenCV at 224 pixels."""
    x, y, width, height = (int(each) for each in mask["bbox"])
    black = (PIXELS * mask["segmentation"][..., None])[y : y + height, x : x + width]
    side = max(width, height)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = black
    return Image.fromarray(cv2.resize(square, (224, 224)))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"use_m2m": True}, CROPS])
def test_each_list_is_what_a_search_for_its_masks_alone_finds(
    engines: Engines, spotted_sam2: Sam2Model, demo_clip: ClipModel, more: dict[str, Any]
) -> None:
    found = answer(engines, [spotted_sam2, demo_clip], **SEARCH, **more, granularities=LISTS)
    for name, output in zip(LISTS, (None, 0, 1, 2), strict=True):
        own = [each for each in found.objects if each.granularity == name]
        expected = searched(spotted_sam2, output, **more)
        assert len(own) == len(expected) > 1
        for mine, theirs in zip(own, expected, strict=True):
            # Refined masks depend by a bit on what is refined beside them.
            assert (models.unpacked(mine.mask.segmentation) != theirs["segmentation"]).mean() < 1e-3
    assert {each.granularity for each in answer(engines, [spotted_sam2, demo_clip], **SEARCH).objects} == {
        None
    }


def test_langsplat_is_what_its_project_makes_of_these_models(
    engines: Engines, spotted_sam2: Sam2Model, demo_clip: ClipModel
) -> None:
    found = answer(engines, [spotted_sam2, demo_clip], **LOOSE)
    params = objects_in_force(S.DescribeObjectsParams.model_validate(LOOSE))
    expected, before = [], 0
    for name, output in zip(LISTS, (None, 0, 1, 2), strict=True):
        masks = searched(spotted_sam2, output)
        scores = np.array([each["predicted_iou"] * each["stability_score"] for each in masks])
        before += len(masks)
        bitmaps = np.stack([each["segmentation"] for each in masks])
        expected += [(name, masks[index]) for index in by_double_loop(bitmaps, scores, params)]
    assert [each.granularity for each in found.objects] == [name for name, _ in expected]
    assert len(expected) < before
    assert {name for name, _ in expected} == set(LISTS)
    for mine, vector, (_, theirs) in zip(found.objects, found.descriptors[0].vectors, expected, strict=True):
        np.testing.assert_array_equal(models.unpacked(mine.mask.segmentation), theirs["segmentation"])
        item = PictureItem(models.encoded(crop_of(theirs)))
        alone: Any = models.answer(engines, ENCODE_IMAGE.rpc, item, S.EncodeImageParams(), demo_clip)
        np.testing.assert_allclose(vector, alone.image_embedding[0], atol=1e-4)


def drawn(count: int, seed: int) -> Masks:
    """Discs of many sizes, some of them nearly the same and some within others."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:90, :120]
    places = rng.uniform((20, 20), (100, 70), (6, 2))[rng.integers(0, 6, count)] + rng.normal(
        0, 3, (count, 2)
    )
    radii = rng.uniform(3, 30, count)
    return np.stack([(x - a) ** 2 + (y - b) ** 2 < r**2 for (a, b), r in zip(places, radii, strict=True)])


@pytest.mark.parametrize(
    "changed", [{"mask_nms_thresh": 0.6}, {"inner_nms_thresh": 0.3}, {"mask_score_thresh": 0.5}, {}]
)
def test_suppression_is_what_a_double_loop_does(changed: dict[str, float]) -> None:
    params = S.DescribeObjectsParams(
        **(changed or {"mask_nms_thresh": 0.8, "inner_nms_thresh": 0.5, "mask_score_thresh": 0.2})
    )
    masks = drawn(60, 1)
    scores = np.random.default_rng(2).random(60)
    stays = unsuppressed(intersections([rle.run_lengths(each) for each in masks]), scores, params)
    expected = by_double_loop(masks, scores, params)
    assert np.flatnonzero(stays).tolist() == expected
    assert 3 < len(expected) < 57


@pytest.mark.slow
def test_levels_and_parents_are_those_within_a_list(
    engines: Engines, spotted_sam2: Sam2Model, demo_clip: ClipModel
) -> None:
    models_of = [spotted_sam2, demo_clip]
    both = answer(engines, models_of, **SEARCH, granularities=["whole", "all"])
    for name in ("whole", "all"):
        alone = answer(engines, models_of, **SEARCH, granularities=[name])
        first = next(i for i, each in enumerate(both.objects) if each.granularity == name)
        own = [each for each in both.objects if each.granularity == name]
        assert [place(each, first) for each in own] == [place(each, 0) for each in alone.objects]
    assert max(each.level for each in both.objects) > 0


def place(each: DescribedObject, first: int) -> tuple[int, int | None]:
    return each.level, None if each.parent is None else each.parent - first


def test_a_mask_of_several_lists_is_shown_to_the_network_once(
    engines: Engines, spotted_sam2: Sam2Model, demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    made = describing.Crops.of

    def noting(self: describing.Crops, mask: Masks) -> Any:
        seen.append(mask)
        return made(self, mask)

    monkeypatch.setattr(describing.Crops, "of", noting)
    found = answer(engines, [spotted_sam2, demo_clip], **LOOSE)
    different = {models.unpacked(each.mask.segmentation).tobytes() for each in found.objects}
    assert len(seen) == len(different) < len(found.objects)


def test_granularities_need_several_masks_of_each_point(
    engines: Engines, spotted_sam2: Sam2Model, demo_clip: ClipModel
) -> None:
    with pytest.raises(InvalidFields, match="they need multimask_output true"):
        answer(engines, [spotted_sam2, demo_clip], recipe="langsplat", multimask_output=False)
