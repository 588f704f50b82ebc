"""Dense features under masks, as one vector for each: docs/formulas.md, "Objects"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.geometry.sampling import neighbours
from featsvc.engines.geometry.sizing import Grid
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.v1.schema import PooledDescriptor, Pooling
from featsvc.work.results import Geometry, HeightWidth

Weights = NDArray[np.float32]
CENTRE = 0.5
"""Of a place, as a part of the distance between two."""
PIXEL_FLOP, PLACE_FLOP = 100.0, 500.0
"""Of a mask, and of a grid: operations of a network that take about as long, on a CPU."""
PLACES = 1 << 18
"""Of a grid that are looked at together: a few MiB."""
WEIGHTS = 1 << 24
"""Of all cells for each of some masks, that are held together: 64 MiB, and the same again where they are scaled."""


def pooled(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Vectors N x D, not normalised, of features h x w x D under masks N x H x W; 0 where a mask covers no cell."""
    cells = features.flatten(0, 1).float()
    together = max(1, WEIGHTS // len(cells))
    some = (masks[first : first + together] for first in range(0, max(1, len(masks)), together))
    return torch.cat([WAYS[way.pooling](cells, geometry, each, way) for each in some])


def pooling_flop(geometry: Geometry, way: PooledDescriptor) -> float:
    """What one mask costs, about."""
    rows, columns = _grid(geometry, way)
    return PIXEL_FLOP * geometry.original_height * geometry.original_width + PLACE_FLOP * rows * columns


def _grid(geometry: Geometry, way: PooledDescriptor) -> HeightWidth:
    """Rows and columns of the places that are looked at; none where cells count by what is covered of them."""
    columns = min(way.grid_width, geometry.original_width)
    return max(1, geometry.original_height * columns // geometry.original_width), columns


def coverage(masks: Bitmaps, geometry: Geometry) -> Weights:
    """The part of each cell that each mask covers, N x h x w, of masks N x H x W of the picture as sent.

    A cell is a rectangle of the padded, resized picture; brought back to the picture as sent its sides lie between
    pixels, of which it has parts. What was cropped off or added by padding belongs to no mask.
    """
    rows = _bounds(geometry, is_vertical=True)
    columns = _bounds(geometry, is_vertical=False)
    areas = np.outer(rows[1] - rows[0], columns[1] - columns[0])
    covered = np.empty((len(masks), *areas.shape), np.float32)
    for mask, own in zip(masks, covered, strict=True):
        step()
        sums = cv2.integral(mask.view(np.uint8), sdepth=cv2.CV_64F)
        # Between the corners of pixels such a sum is linear in each direction, so this is exact.
        above, below = (_between(sums, each) for each in rows)
        strip = (below - above).T
        left, right = (_between(strip, each) for each in columns)
        own[:] = ((right - left).T / areas).clip(0, 1)
    return covered


def weights(masks: Bitmaps, geometry: Geometry, way: PooledDescriptor) -> Weights:
    """What each cell counts for each mask, N x h x w.

    With `grid_width` that is the sum over all places of its grid that lie in the mask of the part that the cell has in
    what is interpolated there: divided by their number it makes the mean of the interpolated features.
    """
    if not way.grid_width:
        return coverage(masks, geometry)
    rows, columns = _grid(geometry, way)
    across = _Places.of(columns, geometry, is_vertical=False)
    down = _Places.of(rows, geometry, is_vertical=True)
    found = np.empty((len(masks), geometry.grid_height, geometry.grid_width), np.float32)
    for mask, own in zip(masks, found, strict=True):
        step()
        pixels = torch.from_numpy(mask.view(np.uint8))
        inside = F.interpolate(pixels[None, None], (rows, columns), mode="nearest")[0, 0]
        own[:] = across.spread(down.spread(inside).T).T.numpy()
    return found


class _Axis(NamedTuple):
    """What a geometry says of the columns of a picture, or of its rows."""

    cells: int
    cut: int
    """Pixels that were cropped off before the first cell."""
    original: int
    resized: int
    uncropped: int

    @classmethod
    def of(cls, geometry: Geometry, is_vertical: bool) -> _Axis:
        """Of the rows where it is vertical."""
        g = geometry
        if is_vertical:
            return cls(g.grid_height, g.crop_top, g.original_height, g.resized_height, g.uncropped_height)
        return cls(g.grid_width, g.crop_left, g.original_width, g.resized_width, g.uncropped_width)


@dataclass(frozen=True)
class _Places:
    """Places at even distances along an axis of the picture, and between which cells they lie."""

    low: Tensor
    high: Tensor
    part: Tensor
    """Of the higher cell; of what was cropped off neither has any."""
    is_seen: Tensor
    cells: int

    @classmethod
    def of(cls, count: int, geometry: Geometry, is_vertical: bool) -> _Places:
        """As points are sampled: linearly between the centres of cells, beyond the outermost as these."""
        axis = _Axis.of(geometry, is_vertical)
        seen = (torch.arange(count, dtype=torch.float64) + CENTRE) * axis.uncropped / count - axis.cut
        is_seen = (seen >= 0) & (seen <= axis.resized)
        between = neighbours(seen, torch.tensor(axis.cells - 1), Grid.of(geometry))
        return cls(*between, is_seen, axis.cells)

    def spread(self, values: Tensor) -> Tensor:
        """What cells have of values at the places, cells x m of places x m."""
        found = torch.zeros(self.cells, values.shape[1], dtype=torch.float64)
        together = max(1, PLACES // values.shape[1])
        for first in range(0, len(values), together):
            own = slice(first, first + together)
            seen = values[own] * self.is_seen[own, None]
            found.index_add_(0, self.low[own], seen * (1 - self.part[own, None]))
            found.index_add_(0, self.high[own], seen * self.part[own, None])
        return found


def _bounds(geometry: Geometry, is_vertical: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the cells of an axis begin and end, in pixels of the picture as sent."""
    axis = _Axis.of(geometry, is_vertical)
    starts = np.arange(axis.cells, dtype=np.float64) * geometry.stride + axis.cut
    scale = axis.original / axis.uncropped
    return starts * scale, (starts + geometry.patch_size) * scale


def _between(sums: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of sums at places between them, linearly; beyond the last row the last."""
    last = len(sums) - 1
    at = at.clip(0, last)
    low = np.floor(at).astype(np.intp).clip(0, max(0, last - 1))
    part = (at - low)[:, None]
    found: NDArray[np.float64] = sums[low] * (1 - part) + sums[low + 1] * part
    return found


def _mean(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Cells by their weights."""
    own = torch.from_numpy(weights(masks, geometry, way)).flatten(1)
    total = own.sum(dim=1, keepdim=True)
    parts = own / torch.where(total > 0, total, torch.ones_like(total))
    return on_device(parts, features.device) @ features


def _max(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Of each channel the largest value of all cells that the mask touches."""
    touched = weights(masks, geometry, way) > 0
    vectors = features.new_zeros(len(masks), features.shape[1])
    for own, is_touched in zip(vectors, touched, strict=True):
        step()
        # By numbers: how many they are only the host would tell a GPU.
        cells = torch.from_numpy(np.flatnonzero(is_touched))
        if len(cells):
            own[:] = features[on_device(cells, features.device)].amax(dim=0)
    return vectors


def _eroded_mean(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """The mean under each mask without its border."""
    return _mean(features, geometry, eroded(masks, way.erosion), way)


def eroded(masks: Bitmaps, border: int) -> Bitmaps:
    """Masks N x H x W without what is within `border` pixels of their outside, rows and columns alike; the edge of the
    picture is no outside. One of which nothing would be left stays as it is.
    """
    kernel = np.ones((2 * border + 1, 2 * border + 1), np.uint8)
    inner = np.empty_like(masks)
    for mask, own in zip(masks, inner, strict=True):
        step()
        left = cv2.erode(mask.view(np.uint8), kernel).view(np.bool_)
        own[:] = left if left.any() else mask
    return inner


WAYS: Mapping[Pooling, Callable[[Tensor, Geometry, Bitmaps, PooledDescriptor], Tensor]] = {
    Pooling.MEAN: _mean,
    Pooling.MAX: _max,
    Pooling.ERODED_MEAN: _eroded_mean,
}
