"""Options of published projects under one name: docs/objects.md has the same table, with its sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

from featsvc.v1.schema import (
    Background,
    ClipParams,
    ClipView,
    CropDescriptor,
    DescribeObjectsParams,
    MaskGranularity,
    Normalization,
    ObjectDescriptor,
    PooledDescriptor,
    Recipe,
    Squaring,
)

M = TypeVar("M", bound=BaseModel)


def _by_crop(way: CropDescriptor) -> tuple[ObjectDescriptor, ...]:
    return (ObjectDescriptor(clip=ClipView(), crop=way),)


CONCEPTFUSION = DescribeObjectsParams(
    points_per_side=8,
    pred_iou_thresh=0.92,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
    describe=_by_crop(CropDescriptor(sam_box=True, with_picture=True)),
)
CONCEPTGRAPHS = DescribeObjectsParams(
    points_per_side=12,
    points_per_batch=144,
    pred_iou_thresh=0.88,
    min_mask_region_area=100,
    describe=_by_crop(CropDescriptor(sam_box=True, margin_px=20)),
)
HOVSG = DescribeObjectsParams(
    points_per_side=12,
    points_per_batch=144,
    pred_iou_thresh=0.88,
    min_mask_region_area=100,
    describe=_by_crop(
        CropDescriptor(
            sam_box=True,
            background=Background.BLACK,
            masked_weight=0.4418,
            plain_margin_px=50,
            squaring=Squaring.STRETCH,
            square_side=512,
            with_picture=True,
        )
    ),
)
OPENMASK3D = DescribeObjectsParams(
    multimask_output=False, describe=_by_crop(CropDescriptor(levels=3, level_margin=0.1))
)
LANGSPLAT = DescribeObjectsParams(
    points_per_side=32,
    pred_iou_thresh=0.7,
    box_nms_thresh=0.7,
    stability_score_thresh=0.85,
    crop_n_layers=1,
    crop_n_points_downscale_factor=1,
    min_mask_region_area=100,
    granularities=(
        MaskGranularity.ALL,
        MaskGranularity.SUBPART,
        MaskGranularity.PART,
        MaskGranularity.WHOLE,
    ),
    mask_nms_thresh=0.8,
    inner_nms_thresh=0.5,
    mask_score_thresh=0.7,
    describe=_by_crop(
        CropDescriptor(sam_box=True, background=Background.BLACK, squaring=Squaring.PAD, square_side=224)
    ),
)
FEATURE_SPLATTING = DescribeObjectsParams(
    multimask_output=False,
    describe=(
        ObjectDescriptor(
            clip=ClipView(params=ClipParams(load_size=-1), normalization=Normalization.IMAGENET),
            pooled=PooledDescriptor(grid_width=100),
        ),
    ),
)
RECIPES: Mapping[Recipe, DescribeObjectsParams] = {
    Recipe.CONCEPTFUSION: CONCEPTFUSION,
    Recipe.CONCEPTGRAPHS: CONCEPTGRAPHS,
    Recipe.HOVSG: HOVSG,
    Recipe.OPENMASK3D: OPENMASK3D,
    Recipe.LANGSPLAT: LANGSPLAT,
    Recipe.FEATURE_SPLATTING: FEATURE_SPLATTING,
}


def filled(given: M, beneath: M) -> M:
    """A message as it was given, with what both have by the other where it leaves something out; inside too."""
    more: dict[str, object] = {}
    for name in beneath.model_fields_set:
        own, other = getattr(given, name), getattr(beneath, name)
        if name not in given.model_fields_set:
            more[name] = other
        elif isinstance(own, BaseModel) and isinstance(other, BaseModel):
            more[name] = filled(own, other)
    return given.model_copy(update=more)


def filled_way(given: ObjectDescriptor, recipe: DescribeObjectsParams) -> ObjectDescriptor:
    """A way to describe with what it leaves out by the recipe's, as far as the two are of one kind."""
    (beneath,) = recipe.describe
    alike = given.model_fields_set & beneath.model_fields_set
    return given.model_copy(
        update={name: filled(getattr(given, name), getattr(beneath, name)) for name in alike}
    )
