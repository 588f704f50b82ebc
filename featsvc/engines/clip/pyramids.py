"""Pyramids of a picture: tiles in several sizes, embedded once and kept, and answered as they are or at places."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.answers.limits import check_json, check_reply, check_rounded, float_bytes
from featsvc.engines.answers.rounding import ITEM_BYTES, as_array, rounded
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.tiles import (
    NUMBER_FLOP,
    PIXEL_BYTES,
    PIXEL_FLOP,
    TILE_PIXELS,
    at_places,
    embedded_tiles,
    levels_of,
)
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.networks.cost import check_tiles
from featsvc.engines.running.cache import ByteCache
from featsvc.engines.running.family import AT_ONCE, Prepared, alone
from featsvc.engines.running.transfer import on_device
from featsvc.engines.running.whole import whole_picture
from featsvc.errors import FieldViolation, InvalidFields, as_sent, invalid_field
from featsvc.fields.base import MOST_TOLD
from featsvc.v1.schema import EmbedPyramidParams, FeatureDType, Orientation
from featsvc.work.item import PictureItem, Way
from featsvc.work.options import EngineOptions
from featsvc.work.results import HeightWidth, Pyramid, PyramidLevel

PyramidKey = tuple[Hashable, str, Orientation, tuple[float, float, int, float]]
"""Whose tiles of what: network, digest of the picture and which way up, and the parameters that say how it is cut."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of a picture, embedded."""

    vectors: Tensor
    """Tiles x D, float32, on the device."""
    size: HeightWidth
    orientation: int
    """How the file says that its picture is to be shown, as EXIF counts."""


PyramidCache = ByteCache[PyramidKey, Tiles]


def pyramid_cache(max_bytes: int) -> PyramidCache:
    """Tiles by model, picture and how it is cut."""
    return ByteCache("clip_pyramids", max_bytes, lambda tiles: tiles.vectors.nbytes)


@dataclass(frozen=True)
class PreparedPyramid(Prepared):
    """A picture before its tiles are embedded, or what is kept of it."""

    cache: PyramidCache
    key: PyramidKey | None
    """None where the picture has no name to keep its tiles under."""
    hit: Tiles | None
    """Held from the preparation on, so that an eviction meanwhile costs nothing."""
    picture: Tensor | None
    """Bytes, 3 x H x W; None where the tiles are there."""
    levels: tuple[PyramidLevel, ...]
    size: HeightWidth

    def tiles(self, loaded: ClipModel) -> Tiles:
        """The tiles, embedded if nobody has done so yet."""
        known = self.hit or (self.cache.find(self.key) if self.key else None)
        if known is not None:
            return known
        if self.picture is None:
            raise LookupError("who knows the tiles keeps no picture")
        picture = on_device(self.picture, loaded.device)
        made = Tiles(embedded_tiles(picture, self.levels, loaded), self.size, self.orientation)
        if self.key:
            self.cache.put(self.key, made)
        return made


def prepare(
    cache: PyramidCache,
    item: PictureItem,
    params: EmbedPyramidParams,
    loaded: ClipModel,
    options: EngineOptions,
) -> PreparedPyramid:
    """Decodes the picture if its tiles are not known; refuses too many of them, and places outside it."""
    key = _key(item, params, loaded)
    hit = cache.find(key) if key else None
    if hit is not None:
        levels = levels_of(hit.size, params)
        _check_answer(hit.size, levels, params, loaded, options, item.way)
        placed = _placed(levels, params, loaded)
        return PreparedPyramid(
            alone(),
            float_bytes((placed,)) // PIXEL_BYTES,
            NUMBER_FLOP * placed,
            cache,
            key,
            hit,
            None,
            levels,
            hit.size,
            orientation=hit.orientation,
        )
    found = decoded(item, options)
    size = found.pixels.height, found.pixels.width
    levels = levels_of(size, params)
    side = levels[-1].tile_size
    if side**2 > options.max_image_pixels:
        message = f"makes tiles of {side} x {side} pixels, at most {options.max_image_pixels} in all"
        raise invalid_field("params.tile_ratio_max", f"{message} (--max-image-pixels): take a smaller one")
    count, (height, width) = sum(each.tiles for each in levels), loaded.visual.image_size
    flop = count * loaded.transformer.flop(height * width // loaded.patch_size**2)
    flop += PIXEL_FLOP * sum(each.tiles * each.tile_size**2 for each in levels)
    check_tiles(count, flop, loaded.entry.key, options)
    _check_answer(size, levels, params, loaded, options, item.way)
    placed = _placed(levels, params, loaded)
    return PreparedPyramid(
        alone(),
        max(
            min(count, AT_ONCE) * height * width + max(TILE_PIXELS, side**2),
            float_bytes((placed,)) // PIXEL_BYTES,
        ),
        flop + NUMBER_FLOP * placed,
        cache,
        key,
        None,
        _bytes_of(found.pixels, loaded.device),
        levels,
        size,
        orientation=found.orientation,
    )


def _bytes_of(picture: Image, device: torch.device) -> Tensor:
    """3 x H x W, which wait in pinned memory where there is room; others go there with their pass."""
    waiting = whole_picture(picture, device) if device.type == "cuda" else None
    return TF.pil_to_tensor(picture) if waiting is None else waiting


def _key(item: PictureItem, params: EmbedPyramidParams, loaded: ClipModel) -> PyramidKey | None:
    if not item.digest:
        return None
    cut = (params.tile_ratio_min, params.tile_ratio_max, params.tile_levels, params.tile_stride_ratio)
    return loaded.identity, item.digest, item.orientation, cut


def _check_answer(
    size: HeightWidth,
    levels: tuple[PyramidLevel, ...],
    params: EmbedPyramidParams,
    loaded: ClipModel,
    options: EngineOptions,
    way: Way,
) -> None:
    """Refuses places outside the picture or between no levels, and an answer of too many bytes."""
    _check_places(size, levels, params)
    count = math.prod(_shape(levels, params))
    elements = count * loaded.channels
    fewer = (
        "fewer points" if params.scaled_points else "a smaller grid" if params.scaled_grid else "fewer levels"
    )
    smaller = "pyramid_dtype float16 or " if params.pyramid_dtype is FeatureDType.FLOAT32 else ""
    remedy = f"{smaller}{fewer} makes it fit"
    nbytes = elements * ITEM_BYTES[params.pyramid_dtype]
    check_reply(nbytes, options, remedy, way)
    check_json(nbytes, way, remedy)
    check_rounded(elements, params.pyramid_dtype, options, remedy)


def _check_places(size: HeightWidth, levels: tuple[PyramidLevel, ...], params: EmbedPyramidParams) -> None:
    among = f"tile_ratio_min is {as_sent(params.tile_ratio_min)} and tile_ratio_max {as_sent(params.tile_ratio_max)}"
    # Levels are float32: the outermost ones may be a last bit beyond what was asked for, and have their own scale.
    least = min(params.tile_ratio_min, levels[0].tile_ratio)
    most = max(params.tile_ratio_max, levels[-1].tile_ratio)
    wrong: list[FieldViolation] = []
    if params.scaled_points:
        height, width = size
        low, high, places = (
            torch.tensor(each, dtype=torch.float64)
            for each in ((0, 0, least), (width - 1, height - 1, most), params.scaled_points)
        )
        bad = (~((places >= low) & (places <= high)).all(dim=1)).nonzero().flatten()[:MOST_TOLD].tolist()
        for index in bad:
            x, y, scale = params.scaled_points[index]
            what = f"({as_sent(x, y, scale)}) is outside the picture of {width} x {height} pixels"
            if x <= width - 1 and y <= height - 1:
                what = f"there is no scale {as_sent(scale)}: {among}"
            wrong.append(FieldViolation(f"params.scaled_points[{index}]", what))
    elif params.scaled_grid is not None:
        wrong += [
            FieldViolation(
                f"params.scaled_grid.scales[{index}]", f"there is no scale {as_sent(scale)}: {among}"
            )
            for index, scale in enumerate(params.scaled_grid.scales)
            if not least <= scale <= most
        ]
    if wrong:
        raise InvalidFields(wrong)


def _shape(levels: tuple[PyramidLevel, ...], params: EmbedPyramidParams) -> tuple[int, ...]:
    """Of the answer, but for its channels."""
    if params.scaled_points:
        return (len(params.scaled_points),)
    if params.scaled_grid is not None:
        return len(params.scaled_grid.scales), params.scaled_grid.height, params.scaled_grid.width
    return (sum(each.tiles for each in levels),)


def _placed(levels: tuple[PyramidLevel, ...], params: EmbedPyramidParams, loaded: ClipModel) -> int:
    """Numbers of all vectors at points or on a grid, which are interpolated; none where the tiles are the answer."""
    if not params.scaled_points and params.scaled_grid is None:
        return 0
    return math.prod(_shape(levels, params)) * loaded.channels


def run(batch: list[PreparedPyramid], params: EmbedPyramidParams, loaded: ClipModel) -> list[Pyramid]:
    """The tiles of each picture, or vectors at places of it."""
    return [_answer(item, params, loaded) for item in batch]


def _answer(item: PreparedPyramid, params: EmbedPyramidParams, loaded: ClipModel) -> Pyramid:
    vectors = item.tiles(loaded).vectors
    if params.scaled_points:
        vectors = at_places(vectors, item.levels, torch.tensor(params.scaled_points, dtype=torch.float64))
    elif params.scaled_grid is not None:
        vectors = at_places(vectors, item.levels, _places(item.size, params))
        vectors = vectors.view(*_shape(item.levels, params), -1)
    small, rounding = rounded(vectors, params.pyramid_dtype)
    return Pyramid(as_array(small), item.levels, *item.size, params.pyramid_dtype, rounding)


def _places(size: HeightWidth, params: EmbedPyramidParams) -> Tensor:
    """All places of the grid at all its scales, N x 3: the centres of equal parts of the picture, row by row."""
    grid = params.scaled_grid
    if grid is None:
        raise TypeError("there is no grid")
    ys, xs = (
        (torch.arange(count, dtype=torch.float64) + 0.5) * pixels / count - 0.5
        for count, pixels in zip((grid.height, grid.width), size, strict=True)
    )
    scales = torch.tensor(grid.scales, dtype=torch.float64)
    return torch.cartesian_prod(scales, ys, xs)[:, [2, 1, 0]]
