"""Automatic masks are those of sam2's own generator, in its order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.passes import MOST
from featsvc.errors import InvalidFields
from featsvc.v1.schema import GenerateMasksParams, Preset
from featsvc.work.operations import GENERATE_MASKS
from featsvc.work.presets import COARSE, FINE_GRAINED, in_force
from featsvc.work.results import Mask, MaskList
from tests.engines import models, upstream
from tests.engines.upstream import with_components

OPERATION = GENERATE_MASKS.rpc
SIZE = (150, 100)
# Random weights find no stable masks: thresholds that let some through, and keep boxes that all are the picture.
LOOSE = {
    "points_per_side": 5,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.4,
    "stability_score_offset": 0.02,
}
OPEN = {"box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}
LARGE = (320, 250)
COMPACT = {"points_per_side": 5, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5}

__all__ = ["with_components"]


def found(
    engines: Engines, model: Sam2Model, params: GenerateMasksParams, size: tuple[int, int] = SIZE
) -> tuple[Mask, ...]:
    result = models.answer(engines, OPERATION, models.picture_item(*size), in_force(params), model)
    assert isinstance(result, MaskList)
    assert (result.height, result.width) == (size[1], size[0])
    return result.masks


def expected(
    model: Sam2Model, params: GenerateMasksParams, size: tuple[int, int] = SIZE
) -> list[dict[str, object]]:
    arguments = in_force(params).model_dump(exclude={"preset", "model_cfg", "checkpoint_path", "output_mode"})
    arguments["min_mask_region_area"] = params_area(params)
    if params.point_grids:
        arguments |= {"points_per_side": None, "point_grids": [np.array(grid) for grid in params.point_grids]}
    else:
        arguments["point_grids"] = None
    return upstream.generator(model, **arguments).generate(np.array(models.picture(*size)))


def params_area(params: GenerateMasksParams) -> float:
    return in_force(params).min_mask_region_area


def check_equal(
    model: Sam2Model, got: tuple[Mask, ...], reference: list[dict[str, object]], least: int
) -> None:
    """All that the package's generator says: to the last bit, or nearly so on a processor that cannot have its bits."""
    assert len(got) == len(reference)
    assert len(got) >= least
    pixels, quality = (0, 0.0) if model.passes.exact else (1e-3, 1e-5)
    for mine, theirs in zip(got, reference, strict=True):
        differ = models.unpacked(mine.segmentation) != theirs["segmentation"]
        assert differ.mean() <= pixels
        assert mine.predicted_iou == pytest.approx(theirs["predicted_iou"], abs=quality, rel=0)
        assert mine.stability_score == pytest.approx(theirs["stability_score"], abs=10 * quality, rel=0)
        assert [list(point) for point in mine.point_coords] == theirs["point_coords"]
        assert list(mine.crop_box) == theirs["crop_box"]
        if model.passes.exact:
            assert (mine.area, list(mine.bbox)) == (theirs["area"], theirs["bbox"])


CASES = {
    "plain": {},
    "refined": {"use_m2m": True},
    "single masks": {"multimask_output": False},
    "other threshold": {"mask_threshold": 0.02},
    "small batches": {"points_per_batch": 7},
    "one at a time": {"points_per_batch": 1, "points_per_side": 3},
}


@pytest.mark.parametrize("name", list(CASES))
def test_noisy_masks_equal_those_of_the_package_generator(
    engines: Engines, small_sam2: Sam2Model, name: str
) -> None:
    params = GenerateMasksParams(**{**LOOSE, **OPEN, **CASES[name]})
    check_equal(small_sam2, found(engines, small_sam2, params), expected(small_sam2, params), least=2)


CROP_CASES = {
    "no crops": {},
    # Torch 2.11 draws a random weight otherwise than 2.14, and only this low a threshold lets masks through in both.
    "crops": {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "stability_score_thresh": 0.4},
    "two layers": {"crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
    "refined in crops": {
        "use_m2m": True,
        "crop_n_layers": 1,
        "crop_overlap_ratio": 0.5,
        "stability_score_thresh": 0.3,
    },
    "strict suppression": {"crop_n_layers": 1, "box_nms_thresh": 0.2, "crop_nms_thresh": 0.1},
}


@pytest.mark.parametrize("name", list(CROP_CASES))
def test_compact_masks_equal_those_of_the_package_generator(
    engines: Engines, spotted_sam2: Sam2Model, name: str
) -> None:
    params = GenerateMasksParams(**{**COMPACT, **CROP_CASES[name]})
    got = found(engines, spotted_sam2, params, LARGE)
    check_equal(spotted_sam2, got, expected(spotted_sam2, params, LARGE), least=2)
    from_crops = [each for each in got if each.crop_box != (0, 0, *LARGE)]
    assert bool(from_crops) == bool(params.crop_n_layers)


def test_given_grids_of_points_are_asked_about(engines: Engines, small_sam2: Sam2Model) -> None:
    loose = {key: value for key, value in LOOSE.items() if key != "points_per_side"}
    grids = (((0.2, 0.3), (0.7, 0.9), (0.5, 0.5)), ((0.5, 0.25),))
    params = GenerateMasksParams(**loose, **OPEN, point_grids=grids, crop_n_layers=1)
    got = found(engines, small_sam2, params)
    check_equal(small_sam2, got, expected(small_sam2, params), least=2)
    whole = [each.point_coords[0] for each in got if each.crop_box == (0, 0, *SIZE)]
    assert set(whole) <= {(30.0, 30.0), (105.0, 90.0), (75.0, 50.0)}


@pytest.mark.usefixtures("with_components")
@pytest.mark.parametrize("preset", list(Preset))
def test_presets_equal_the_package_generator_with_their_values(
    engines: Engines, spotted_sam2: Sam2Model, preset: Preset
) -> None:
    params = GenerateMasksParams(preset=preset, **COMPACT)
    check_equal(
        spotted_sam2,
        found(engines, spotted_sam2, params, LARGE),
        expected(spotted_sam2, params, LARGE),
        least=2,
    )


@pytest.mark.usefixtures("with_components")
def test_small_regions_go_as_the_package_would_with_its_extension(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    params = GenerateMasksParams(**LOOSE, **OPEN, min_mask_region_area=8)
    got = found(engines, small_sam2, params)
    check_equal(small_sam2, got, expected(small_sam2, params), least=2)
    untouched = found(engines, small_sam2, params.model_copy(update={"min_mask_region_area": 0}))
    assert [each.area for each in got] != [each.area for each in untouched]


@pytest.mark.slow
def test_masks_of_a_real_architecture_equal_those_of_the_package_generator(
    engines: Engines, sam2_tiny: Sam2Model
) -> None:
    params = GenerateMasksParams(
        points_per_side=2, pred_iou_thresh=0.3, stability_score_thresh=0, box_nms_thresh=1.0
    )
    check_equal(sam2_tiny, found(engines, sam2_tiny, params), expected(sam2_tiny, params), least=2)


@pytest.mark.parametrize("together", [16, MOST])
def test_larger_passes_find_the_same_masks(engines: Engines, spotted_sam2: Sam2Model, together: int) -> None:
    params = GenerateMasksParams(**{**COMPACT, "use_m2m": True, "stability_score_thresh": 0.3})
    model = replace(spotted_sam2, passes=replace(spotted_sam2.passes, together=together))
    check_equal(model, found(engines, model, params, LARGE), expected(model, params, LARGE), least=2)


def test_too_many_points_are_refused(small_sam2: Sam2Model) -> None:
    few = models.engines(max_points=4 * 4 + 4 * 2 * 2)
    params = {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
    found(few, small_sam2, GenerateMasksParams(**params))
    with pytest.raises(InvalidFields, match="80 points over all crops, at most 32") as caught:
        found(few, small_sam2, GenerateMasksParams(points_per_side=4, crop_n_layers=1))
    assert caught.value.violations[0].field == "params.points_per_side"


def test_no_masks_at_all_are_an_empty_list(engines: Engines, small_sam2: Sam2Model) -> None:
    for crops in (0, 1):
        params = GenerateMasksParams(points_per_side=3, pred_iou_thresh=1.0, crop_n_layers=crops)
        assert found(engines, small_sam2, params) == ()


def test_a_preset_gives_way_to_what_the_request_gives() -> None:
    params = in_force(GenerateMasksParams(preset="coarse", points_per_side=7, use_m2m=True))
    assert (params.points_per_side, params.use_m2m) == (7, True)
    assert params.min_mask_region_area == COARSE.min_mask_region_area == 100
    # A value that happens to be the default counts as given.
    assert in_force(GenerateMasksParams(preset="fine_grained", pred_iou_thresh=0.8)).pred_iou_thresh == 0.8
    assert (
        in_force(GenerateMasksParams(preset="fine_grained")).pred_iou_thresh
        == FINE_GRAINED.pred_iou_thresh
        == 0.7
    )


def test_the_defaults_are_those_of_the_package_generator() -> None:
    ours = GenerateMasksParams()
    theirs = upstream.SAM2AutomaticMaskGenerator.__init__.__defaults__
    names = upstream.SAM2AutomaticMaskGenerator.__init__.__code__.co_varnames[2 : 2 + len(theirs)]
    defaults = dict(zip(names, theirs, strict=True))
    for name, value in defaults.items():
        if name != "point_grids":
            assert getattr(ours, name) == value, name


BAD = {
    "both ways to place points": ({"points_per_side": 4, "point_grids": (((0.5, 0.5),),)}, "point_grids"),
    "too few grids": ({"preset": "fine_grained", "point_grids": (((0.5, 0.5),),)}, "point_grids"),
    "points outside": ({"point_grids": (((0.5, 1.5),),)}, "point_grids"),
    "no points left": (
        {"points_per_side": 2, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
        "crop_n_points_downscale_factor",
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_contradictory_options_name_their_field(engines: Engines, small_sam2: Sam2Model, name: str) -> None:
    options, field = BAD[name]
    with pytest.raises(InvalidFields) as caught:
        found(engines, small_sam2, GenerateMasksParams(**options))
    assert caught.value.violations[0].field == f"params.{field}"


def test_a_picture_of_one_pixel_is_no_defect(engines: Engines, small_sam2: Sam2Model) -> None:
    with torch.inference_mode():
        for params in (
            GenerateMasksParams(points_per_side=2),
            GenerateMasksParams(points_per_side=2, crop_n_layers=1),
        ):
            found(engines, small_sam2, params, (1, 1))
