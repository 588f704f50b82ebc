"""From grid cells to pixels: features and maps brought to the padded picture's size, the padding cut off."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.engines.results import Geometry
from featsvc.v1.schema import InterpolationMode

SMOOTH = {InterpolationMode.BILINEAR, InterpolationMode.BICUBIC}


def interpolated(maps: Tensor, size: tuple[int, int], mode: InterpolationMode) -> Tensor:
    """N x C x h x w to N x C x H x W, corners not aligned."""
    corners = False if mode in SMOOTH else None
    return F.interpolate(maps, size=size, mode=mode.value, align_corners=corners)


def padded_size(geometry: Geometry) -> tuple[int, int]:
    """Height and width of what the network saw."""
    return geometry.resized_height + geometry.pad_bottom, geometry.resized_width + geometry.pad_right


def to_pixels(maps: Tensor, geometry: Geometry, mode: InterpolationMode) -> Tensor:
    """C x h x w on the grid to C x H x W on the resized picture."""
    full = interpolated(maps[None], padded_size(geometry), mode)[0]
    return full[:, : geometry.resized_height, : geometry.resized_width]


def axis_weights(geometry: Geometry, mode: InterpolationMode) -> tuple[Tensor, Tensor]:
    """The interpolation as two matrices, H x h and W x w, float64: every mode works axis by axis.

    They are what torch does to an identity matrix, so they are right for any mode.
    """
    height, width = padded_size(geometry)
    rows = torch.eye(geometry.grid_height, dtype=torch.float64)[None, :, :, None]
    columns = torch.eye(geometry.grid_width, dtype=torch.float64)[None, :, None, :]
    vertical = interpolated(rows, (height, 1), mode)[0, :, :, 0].T
    horizontal = interpolated(columns, (1, width), mode)[0, :, 0, :].T
    return vertical[: geometry.resized_height], horizontal[: geometry.resized_width]
