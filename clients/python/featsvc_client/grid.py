"""Where the cells of a feature grid lie on the picture as sent.

A cell is (row, column) of the array of an answer, (0, 0) its first; a position is (x, y) in pixels of the picture as
sent, (0, 0) the centre of its first pixel. Neither need be whole. For the centre of a cell

    u = (first_column + column) * stride + patch_size / 2           from the left edge of what the network sees
    x = (u + crop_left) * original_width / uncropped_width - 0.5

and the same for y with rows and heights. Padding is at the right and bottom, so it moves nothing. It is what `points`
of the extract calls are turned round by, so features at `positions(geometry, cells)` are those of the cells.
Arrays whose cells are pixels of the resized picture have another geometry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featsvc.v1 import image_pb2


def positions(geometry: image_pb2.Geometry, cells: ArrayLike) -> NDArray[np.float64]:
    """Positions (x, y) of the centres of cells (row, column), both ... x 2."""
    across = np.asarray(cells, np.float64)[..., ::-1] + _first(geometry)
    seen = across * geometry.stride + geometry.patch_size / 2
    return np.asarray((seen + _crop(geometry)) / _scale(geometry) - 0.5, np.float64)


def cells(geometry: image_pb2.Geometry, positions: ArrayLike) -> NDArray[np.float64]:
    """Cells (row, column) with their centres at positions (x, y), both ... x 2; `.round()` gives the nearest."""
    seen = (np.asarray(positions, np.float64) + 0.5) * _scale(geometry) - _crop(geometry)
    across = (seen - geometry.patch_size / 2) / geometry.stride
    return np.asarray((across - _first(geometry))[..., ::-1], np.float64)


def _first(geometry: image_pb2.Geometry) -> NDArray[np.float64]:
    return np.array([geometry.first_column, geometry.first_row], np.float64)


def _crop(geometry: image_pb2.Geometry) -> NDArray[np.float64]:
    return np.array([geometry.crop_left, geometry.crop_top], np.float64)


def _scale(geometry: image_pb2.Geometry) -> NDArray[np.float64]:
    """Pixels after resizing for one of the picture as sent, in x and y."""
    width = geometry.uncropped_width or geometry.resized_width
    height = geometry.uncropped_height or geometry.resized_height
    return np.array([width / geometry.original_width, height / geometry.original_height])
