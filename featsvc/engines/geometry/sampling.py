"""Features at some places of the picture only: at points, in a window of the grid, or at the cells of another grid.

From a position x in pixels of the picture as sent, 0 being the centre of its first pixel, to the grid:

    u = (x + 0.5) * uncropped_width / original_width - crop_left - 0.5    in pixels of what the network sees
    column = (u - (patch_size - 1) / 2) / stride                          in cells, 0 being the centre of the first

and the same for y with heights. Padding is at the right and bottom, so it moves nothing. Between the centres of four
cells the features are interpolated linearly; beyond those of the outermost cells the border's hold.
The edges of a window are such positions without the halves: 0 is the left edge of the first pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from featsvc.engines.geometry.sizing import Grid
from featsvc.engines.running.transfer import on_device
from featsvc.errors import FieldViolation, InvalidFields, as_sent, invalid_field
from featsvc.fields.base import MOST_TOLD
from featsvc.v1.schema import Position, Window
from featsvc.work.results import Geometry, HeightWidth

NOISE = 1e-6
"""Pixels by which a window may seem to reach into a cell by rounding alone."""


class Between(NamedTuple):
    """Between which cells positions lie, along one axis or N x 2."""

    low: Tensor
    high: Tensor
    part: Tensor
    """Of the higher one."""


def check_points(points: Sequence[Position], geometry: Geometry) -> None:
    """Refuses points outside the picture, or of the part that was cropped off; tells the first few of them."""
    if not points:
        return
    width, height = geometry.original_width, geometry.original_height
    places = torch.tensor(points, dtype=torch.float64)
    outside = ~_between(places, torch.tensor([width - 1.0, height - 1.0]))
    seen = _seen(places + 0.5, geometry)
    cut = ~_between(seen, torch.tensor([float(geometry.resized_width), float(geometry.resized_height)]))
    bad = (outside | cut).nonzero().flatten()[:MOST_TOLD].tolist()
    if bad:
        raise InvalidFields(
            [_violation(index, points[index], outside[index].item(), geometry) for index in bad]
        )


def _between(places: Tensor, most: Tensor) -> Tensor:
    """Which of positions N x 2 lie between 0 and `most`; what is no number does not."""
    return ((places >= 0) & (places <= most)).all(dim=1)


def _violation(index: int, point: Position, is_outside: object, geometry: Geometry) -> FieldViolation:
    width, height = geometry.original_width, geometry.original_height
    message = f"({as_sent(*point)}) is in what center_crop cuts off"
    if is_outside:
        message = (
            f"({as_sent(*point)}) is outside the picture: at most ({width - 1}, {height - 1}) "
            f"in one of {width} x {height} pixels"
        )
    return FieldViolation(f"params.points[{index}]", message)


def _seen(edges: Tensor, geometry: Geometry) -> Tensor:
    """Positions N x 2 in the picture as sent to those in what the network sees, each from its first pixel's edge."""
    scale = torch.tensor(
        [
            geometry.uncropped_width / geometry.original_width,
            geometry.uncropped_height / geometry.original_height,
        ],
        dtype=torch.float64,
    )
    return edges * scale - torch.tensor([geometry.crop_left, geometry.crop_top], dtype=torch.float64)


def sampled(features: Tensor, points: Sequence[Position], geometry: Geometry) -> Tensor:
    """Features N x D at points, of features h x w x D on the grid."""
    seen = _seen(torch.tensor(points, dtype=torch.float64) + 0.5, geometry)
    last = torch.tensor([geometry.grid_width - 1, geometry.grid_height - 1])
    low, high, part = neighbours(seen, last, Grid.of(geometry))
    part = on_device(part.to(features.dtype)[:, :, None], features.device)
    low, high = on_device(low, features.device), on_device(high, features.device)
    return bilinear(lambda rows, columns: features[rows, columns], Between(low, high, part))


def bilinear(at: Callable[[Tensor, Tensor], Tensor], places: Between) -> Tensor:
    """Values N x D at places N x 2 (columns, then rows), of what stands at rows and columns of a grid."""
    low, high, part = places
    above = torch.lerp(at(low[:, 1], low[:, 0]), at(low[:, 1], high[:, 0]), part[:, 0])
    below = torch.lerp(at(high[:, 1], low[:, 0]), at(high[:, 1], high[:, 0]), part[:, 0])
    return torch.lerp(above, below, part[:, 1])


def neighbours(seen: Tensor, last: Tensor, grid: Grid) -> Between:
    """The cells between whose centres positions in what the network sees lie, and the part of the higher one.

    Positions are float64, of one axis or N x 2, each from its first pixel's edge; `last` is the last cell of each axis.
    """
    return between((seen - grid.patch / 2) / grid.stride, last)


def between(cells: Tensor, last: Tensor) -> Between:
    """Between which whole cells positions lie that are in cells; beyond 0 and `last` these hold."""
    cells = cells.clamp(torch.zeros_like(last), last)
    low = cells.floor().long()
    return Between(low, torch.minimum(low + 1, last), cells - low)


def regridded(maps: Tensor, grid: Grid, size: HeightWidth, other: Grid) -> Tensor:
    """Maps N x h x w x D on one grid at the centres of the cells of another of this size, N x H x W x D."""
    for axis, count in enumerate(size, 1):
        centres = torch.arange(count, dtype=torch.float64) * other.stride + other.patch / 2
        low, high, part = neighbours(centres, torch.tensor(maps.shape[axis] - 1), grid)
        low, high = on_device(low, maps.device), on_device(high, maps.device)
        shape = [-1 if each == axis else 1 for each in range(maps.dim())]
        part = on_device(part.to(maps.dtype), maps.device).view(shape)
        maps = torch.lerp(maps.index_select(axis, low), maps.index_select(axis, high), part)
    return maps


def window(region: Window, geometry: Geometry) -> tuple[slice, slice]:
    """Rows and columns of the grid whose patches overlap the region; refuses one that is not in the picture."""
    width, height = geometry.original_width, geometry.original_height
    if not (0 <= region.x0 < region.x1 <= width and 0 <= region.y0 < region.y1 <= height):
        corner = f"({as_sent(region.x1, region.y1)})"
        raise invalid_field(
            "params.region", f"reaches {corner}, outside the picture of {width} x {height} pixels"
        )
    corners = torch.tensor([[region.x0, region.y0], [region.x1, region.y1]], dtype=torch.float64)
    (left, top), (right, bottom) = _seen(corners, geometry).tolist()
    rows = _overlapping((top, bottom), geometry.grid_height, geometry)
    columns = _overlapping((left, right), geometry.grid_width, geometry)
    # Beyond the crop there may be padding, whose patches would answer for what was cut off.
    is_seen = left + NOISE < geometry.resized_width and top + NOISE < geometry.resized_height
    if not (is_seen and rows.start < rows.stop and columns.start < columns.stop):
        raise invalid_field("params.region", "lies in what center_crop cuts off")
    return rows, columns


def _overlapping(edges: tuple[float, float], cells: int, geometry: Geometry) -> slice:
    """Cells along an axis whose patch, from cell * stride, overlaps the stretch between two edges."""
    low, high = edges[0] + NOISE, edges[1] - NOISE
    first = math.floor((low - geometry.patch_size) / geometry.stride) + 1
    return slice(max(0, first), max(0, min(cells, math.ceil(high / geometry.stride))))


def windowed(geometry: Geometry, rows: slice, columns: slice) -> Geometry:
    """The geometry of an answer that begins elsewhere; the grid stays the whole one."""
    return replace(geometry, first_row=rows.start, first_column=columns.start)
