"""Where automatic masks look: crops of the picture, and points in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sam2.utils.amg import build_point_grid, generate_crop_boxes

from featsvc.engines.answers.rle import Box
from featsvc.errors import invalid_field
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Crop:
    """A part of the picture by its corners, and the points to ask about, n x 2 in pixels of the crop."""

    box: Box
    points: Points

    @property
    def size(self) -> HeightWidth:
        """Height and width."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


def point_grids(params: GenerateMasksParams) -> list[Points]:
    """Points in [0, 1] of width and height for each layer, n x 2 (`build_all_layer_point_grids`)."""
    if params.point_grids:
        return _given_grids(params)
    factor = params.crop_n_points_downscale_factor
    sides = [int(params.points_per_side / factor**layer) for layer in range(params.crop_n_layers + 1)]
    if sides[-1] == 0:
        message = (
            f"{factor} to the power {params.crop_n_layers} leaves none of {params.points_per_side} points"
        )
        raise invalid_field("params.crop_n_points_downscale_factor", message)
    return [build_point_grid(side) for side in sides]


def _given_grids(params: GenerateMasksParams) -> list[Points]:
    field = "params.point_grids"
    if len(params.point_grids) != params.crop_n_layers + 1:
        needed = params.crop_n_layers + 1
        message = f"{len(params.point_grids)} grids; crop_n_layers {params.crop_n_layers} needs {needed}"
        raise invalid_field(field, message)
    grids = [np.array(grid, dtype=np.float64).reshape(-1, 2) for grid in params.point_grids]
    if any(grid.size and (grid.min() < 0 or grid.max() > 1) for grid in grids):
        raise invalid_field(field, "points are parts of width and height, in [0, 1]")
    return grids


def crops(size: HeightWidth, params: GenerateMasksParams) -> list[Crop]:
    """Every crop of a picture of this height and width, the whole picture first."""
    grids = point_grids(params)
    boxes, layers = generate_crop_boxes(size, params.crop_n_layers, params.crop_overlap_ratio)
    every = [_crop(box, grids[layer]) for box, layer in zip(boxes, layers, strict=True)]
    # In pictures of a few pixels some crops have none.
    return [crop for crop in every if min(crop.size) > 0]


def _crop(box: list[int], grid: Points) -> Crop:
    x0, y0, x1, y1 = box
    return Crop((x0, y0, x1, y1), grid * np.array([x1 - x0, y1 - y0]))
