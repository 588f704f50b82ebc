"""Tiles of several sizes, as LERF cuts them: where they lie, what CLIP makes of them, and what holds between them.

docs/formulas.md, "Pyramids", has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from featsvc.engines.clip.dense import embedded
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.geometry.sampling import Between, between, bilinear
from featsvc.engines.running.colours import NO_BLANK, Seen, normalised
from featsvc.engines.running.family import AT_ONCE
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.errors import invalid_field
from featsvc.v1.schema import PyramidParams
from featsvc.work.results import HeightWidth, PyramidLevel

CLOSE_FROM, APART_TO = 0.15, 0.05
"""Sides of tiles, as parts of the picture's height: from the first on they are `tile_stride_ratio` of their side apart,
up to the second their whole side. LERF's own numbers."""
TILE_PIXELS = 1 << 22
"""Pixels of tiles that are brought to the network's size together, or of one tile that is larger: 50 MB."""
POINTS_AT_ONCE = 1 << 12
"""Points that are interpolated together: of 512 channels 8 MB, eight times on the way."""
PIXEL_BYTES = 12
"""Of a pixel that the network sees: three numbers, float32."""
PIXEL_FLOP, NUMBER_FLOP = 800.0, 500.0
"""Of a pixel of a tile, and of a number of a vector at a point: operations of a network that take as long, on a CPU."""


def levels_of(size: HeightWidth, params: PyramidParams) -> tuple[PyramidLevel, ...]:
    """The levels of a picture of this height and width; raises InvalidFields where a tile would have no pixels."""
    # In float32, as LERF has them: sides are rounded down, and a last bit decides whether 0.35 of 100 pixels are 35.
    ratios = torch.linspace(
        params.tile_ratio_min, params.tile_ratio_max, params.tile_levels, dtype=torch.float32
    )
    return tuple(_level(size, ratio, params.tile_stride_ratio) for ratio in ratios.tolist())


def _level(size: HeightWidth, tile_ratio: float, least_stride_ratio: float) -> PyramidLevel:
    height, width = size
    stride_ratio = float(np.interp(tile_ratio, [APART_TO, CLOSE_FROM], [1.0, least_stride_ratio]))
    side = int(height * tile_ratio)
    stride = int(side * stride_ratio)
    if stride < 1:
        message = (
            f"makes tiles of {side} pixels every {stride} of this picture, which is {height} pixels high"
        )
        raise invalid_field("params.tile_ratio_min", f"{message}: take a larger one")
    margin = side // 2
    return PyramidLevel(
        tile_ratio=tile_ratio,
        stride_ratio=stride_ratio,
        tile_size=side,
        stride=stride,
        grid_height=(height + 2 * margin - side) // stride + 1,
        grid_width=(width + 2 * margin - side) // stride + 1,
        first_center=(side - 1) / 2 - margin,
    )


def embedded_tiles(picture: Tensor, levels: Sequence[PyramidLevel], loaded: ClipModel) -> Tensor:
    """Embeddings of all tiles, tiles x D of length 1, level by level and row by row, on the device.

    The picture is bytes, 3 x H x W, on the device too.
    """
    every = (each for level in levels for each in _seen(picture, level, loaded))
    vectors: list[Tensor] = []
    while some := list(islice(every, AT_ONCE)):
        step()
        vectors += embedded(some, loaded)
    return torch.stack(vectors)


def _seen(picture: Tensor, level: PyramidLevel, loaded: ClipModel) -> Iterator[Seen]:
    """The tiles of a level as the network sees them: squares of its size, as `coloured` has them for the device."""
    margin, corners = level.tile_size // 2, product(range(level.grid_height), range(level.grid_width))
    # Small tiles become larger: no more than share a pass.
    together = max(1, min(AT_ONCE, TILE_PIXELS // level.tile_size**2))
    while some := list(islice(corners, together)):
        step()
        tiles = picture.new_zeros((len(some), 3, level.tile_size, level.tile_size), dtype=torch.float32)
        for tile, (row, column) in zip(tiles, some, strict=True):
            _cut(picture, row * level.stride - margin, column * level.stride - margin, tile)
        # As LERF's Resize of a batch of floating-point numbers; open_clip's own preprocessing is of files.
        squares = F.interpolate(tiles, loaded.visual.image_size, mode="bilinear", antialias=True)
        if loaded.device.type == "cpu":
            squares = normalised(squares, loaded.normal, [NO_BLANK] * len(some))
        yield from map(Seen, squares)


def _cut(picture: Tensor, top: int, left: int, tile: Tensor) -> None:
    """Fills a tile 3 x S x S, which is 0, with what lies in the picture of the square at this corner."""
    side = tile.shape[-1]
    height, width = picture.shape[1:]
    y0, y1, x0, x1 = max(0, top), min(height, top + side), max(0, left), min(width, left + side)
    tile[:, y0 - top : y1 - top, x0 - left : x1 - left] = picture[:, y0:y1, x0:x1]


def at_places(tiles: Tensor, levels: Sequence[PyramidLevel], places: Tensor) -> Tensor:
    """Vectors N x D of length 1 at places N x 3 (x, y, scale; float64, on the host), of all tiles T x D."""
    found = tiles.new_empty(len(places), tiles.shape[1])
    tables = _Tables(levels)
    for first in range(0, len(places), POINTS_AT_ONCE):
        step()
        some = places[first : first + POINTS_AT_ONCE]
        low, high, part = tables.levels_around(some[:, 2])
        smaller, larger = (tables.interpolated(tiles, some[:, :2], level) for level in (low, high))
        vectors = torch.lerp(smaller, larger, on_device(part.to(tiles.dtype)[:, None], tiles.device))
        found[first : first + len(some)] = F.normalize(vectors, dim=-1)
    return found


class _Tables:
    """What is known of each level, as numbers that many points look up at once."""

    def __init__(self, levels: Sequence[PyramidLevel]) -> None:
        self._ratios = [each.tile_ratio for each in levels]
        self._strides = torch.tensor([each.stride for each in levels])
        self._centers = torch.tensor([each.first_center for each in levels], dtype=torch.float64)
        self._lasts = torch.tensor([[each.grid_width - 1, each.grid_height - 1] for each in levels])
        counts = torch.tensor([each.tiles for each in levels])
        self._starts = counts.cumsum(0) - counts

    def levels_around(self, scales: Tensor) -> Between:
        """Between which levels scales N lie."""
        least, most = self._ratios[0], self._ratios[-1]
        last = torch.tensor(len(self._ratios) - 1)
        steps = (scales - least) / ((most - least) or 1.0) * last
        return between(steps, last)

    def interpolated(self, tiles: Tensor, points: Tensor, level: Tensor) -> Tensor:
        """Vectors N x D at points N x 2 (x, y), each between the tiles of its level N."""
        last, start = self._lasts[level], self._starts[level]
        cells = (points - self._centers[level, None]) / self._strides[level, None]
        low, high, part = between(cells, last)
        width = last[:, 0] + 1

        def at(rows: Tensor, columns: Tensor) -> Tensor:
            return tiles[on_device(start + rows * width + columns, tiles.device)]

        return bilinear(at, Between(low, high, on_device(part.to(tiles.dtype)[:, :, None], tiles.device)))
