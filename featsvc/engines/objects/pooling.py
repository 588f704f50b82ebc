"""Dense features under masks, as one vector for each: docs/formulas.md, "Objects"."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.v1.schema import PooledDescriptor, Pooling
from featsvc.work.results import Geometry

Weights = NDArray[np.float32]
WEIGHTS = 1 << 24
"""Of all cells for each of some masks, that are held together: 64 MiB, and the same again where they are scaled."""


def pooled(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Vectors N x D, not normalised, of features h x w x D under masks N x H x W; 0 where a mask covers no cell."""
    cells = features.flatten(0, 1).float()
    together = max(1, WEIGHTS // len(cells))
    some = (masks[first : first + together] for first in range(0, max(1, len(masks)), together))
    return torch.cat([WAYS[way.pooling](cells, geometry, each, way) for each in some])


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


def _bounds(geometry: Geometry, is_vertical: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the cells of an axis begin and end, in pixels of the picture as sent."""
    g = geometry
    if is_vertical:
        cells, cut, length, uncropped = g.grid_height, g.crop_top, g.original_height, g.uncropped_height
    else:
        cells, cut, length, uncropped = g.grid_width, g.crop_left, g.original_width, g.uncropped_width
    starts = np.arange(cells, dtype=np.float64) * g.stride + cut
    scale = length / uncropped
    return starts * scale, (starts + g.patch_size) * scale


def _between(sums: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of sums at places between them, linearly; beyond the last row the last."""
    last = len(sums) - 1
    at = at.clip(0, last)
    low = np.floor(at).astype(np.intp).clip(0, max(0, last - 1))
    part = (at - low)[:, None]
    found: NDArray[np.float64] = sums[low] * (1 - part) + sums[low + 1] * part
    return found


def _mean(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Cells weighted by the part of each that the mask covers."""
    weights = torch.from_numpy(coverage(masks, geometry)).flatten(1)
    total = weights.sum(dim=1, keepdim=True)
    parts = weights / torch.where(total > 0, total, torch.ones_like(total))
    return on_device(parts, features.device) @ features


def _max(features: Tensor, geometry: Geometry, masks: Bitmaps, way: PooledDescriptor) -> Tensor:
    """Of each channel the largest value of all cells that the mask touches."""
    touched = on_device(torch.from_numpy(coverage(masks, geometry) > 0).flatten(1), features.device)
    vectors = features.new_zeros(len(masks), features.shape[1])
    for own, cells in zip(vectors, touched, strict=True):
        step()
        if bool(cells.any()):
            own[:] = features[cells].amax(dim=0)
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
