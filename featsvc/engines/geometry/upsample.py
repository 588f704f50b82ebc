"""From grid cells to pixels: features and maps brought to the padded picture's size, the padding cut off."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.engines.running.steps import step
from featsvc.v1.schema import InterpolationMode
from featsvc.work.results import Geometry, HeightWidth

STEP_ELEMENTS = 1 << 27
"""Elements that are made at a time: some tenths of a second. Ordinary answers have fewer."""
STEP_CHANNELS = 16
"""Channels come in multiples of this: torch has other last bits for a few."""
DOUBLE_BYTES = 8
SMOOTH = {InterpolationMode.BILINEAR, InterpolationMode.BICUBIC}


def interpolated(maps: Tensor, size: HeightWidth, mode: InterpolationMode) -> Tensor:
    """N x C x h x w to N x C x H x W, corners not aligned."""
    corners = False if mode in SMOOTH else None
    return F.interpolate(maps, size=size, mode=mode.value, align_corners=corners)


def padded_size(geometry: Geometry) -> HeightWidth:
    """Height and width of what the network saw."""
    return geometry.resized_height + geometry.pad_bottom, geometry.resized_width + geometry.pad_right


def to_pixels(maps: Tensor, geometry: Geometry, mode: InterpolationMode) -> Tensor:
    """C x h x w on the grid to C x H x W on the resized picture."""
    height, width = padded_size(geometry)
    together = max(1, STEP_ELEMENTS // (height * width * STEP_CHANNELS)) * STEP_CHANNELS
    parts = []
    for some in torch.split(maps, together):
        step()
        full = interpolated(some[None], (height, width), mode)[0]
        parts.append(full[:, : geometry.resized_height, : geometry.resized_width])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def axis_bytes(geometry: Geometry) -> int:
    """Bytes of both matrices of `axis_weights`, and of what makes them."""
    height, width = padded_size(geometry)
    rows, columns = geometry.grid_height, geometry.grid_width
    return DOUBLE_BYTES * (rows * (rows + height) + columns * (columns + width))


class AxisWeights(NamedTuple):
    """The interpolation as two matrices, H x h and W x w, float64: every mode works axis by axis."""

    vertical: Tensor
    horizontal: Tensor


def axis_weights(geometry: Geometry, mode: InterpolationMode) -> AxisWeights:
    """The weights of a mode.

    They are what torch does to an identity matrix, so they are right for any mode.
    """
    height, width = padded_size(geometry)
    rows = torch.eye(geometry.grid_height, dtype=torch.float64)[None, :, :, None]
    columns = torch.eye(geometry.grid_width, dtype=torch.float64)[None, :, None, :]
    vertical = interpolated(rows, (height, 1), mode)[0, :, :, 0].T
    horizontal = interpolated(columns, (1, width), mode)[0, :, 0, :].T
    return AxisWeights(vertical[: geometry.resized_height], horizontal[: geometry.resized_width])
