"""Sets of options of automatic masks under one name, as the REST document gives them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel

from featsvc.errors import invalid_field
from featsvc.v1.schema import AutomaticMaskParams, GenerateMasksParams, OutputMode, Preset

M = TypeVar("M", bound=AutomaticMaskParams)

FINE_GRAINED = GenerateMasksParams(
    points_per_side=64,
    points_per_batch=128,
    pred_iou_thresh=0.7,
    stability_score_thresh=0.92,
    stability_score_offset=0.7,
    mask_threshold=0.0,
    box_nms_thresh=0.7,
    crop_n_layers=1,
    crop_nms_thresh=0.7,
    crop_overlap_ratio=512 / 1500,
    crop_n_points_downscale_factor=2,
    min_mask_region_area=25.0,
    use_m2m=True,
    multimask_output=True,
    output_mode=OutputMode.BINARY_MASK,
)
COARSE = GenerateMasksParams(
    points_per_side=16,
    points_per_batch=64,
    pred_iou_thresh=0.8,
    stability_score_thresh=0.95,
    stability_score_offset=1.0,
    mask_threshold=0.0,
    box_nms_thresh=0.7,
    crop_n_layers=0,
    crop_nms_thresh=0.7,
    crop_overlap_ratio=512 / 1500,
    crop_n_points_downscale_factor=1,
    min_mask_region_area=100.0,
    use_m2m=False,
    multimask_output=True,
    output_mode=OutputMode.BINARY_MASK,
)
PRESETS: Mapping[Preset, GenerateMasksParams] = {Preset.FINE_GRAINED: FINE_GRAINED, Preset.COARSE: COARSE}


def explicit(params: BaseModel) -> dict[str, object]:
    """The options that were given."""
    return {name: getattr(params, name) for name in params.model_fields_set}


def in_force(params: M, beneath: Mapping[str, object] = MappingProxyType({})) -> M:
    """The options of the preset, those given in the request before them and others beneath; all of them count as given.

    Whether a field was given is seen neither by `==` nor by `hash`, by which jobs are found that may share a batch: so
    whatever depends on it is settled before there is a job.
    """
    named = explicit(params)
    if params.preset is None and params.point_grids and "points_per_side" in named:
        raise invalid_field("params.point_grids", "contradicts points_per_side: give one of the two")
    preset = {} if params.preset is None else explicit(PRESETS[params.preset])
    kind = type(params)
    return kind().model_copy(update={**dict(kind()), **beneath, **preset, **named})
