"""The part of a picture around each object, as a network is to see it: docs/formulas.md, "Objects"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.running.steps import step
from featsvc.v1.schema import Background, CropDescriptor, Squaring

LARGEST_SQUARE = 4096
"""Side of the largest square that a crop is padded to: a longer crop is made smaller before. Networks see far less."""
BLUR_ROWS = 256
"""Rows of a picture that are blurred at a time, or more where the blur reaches as far."""
BLUR_REACH = 4
"""Standard deviations beyond which no pixel counts for a blurred one; OpenCV's kernel ends at three."""
Pixels = NDArray[np.uint8]
Corners = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two just outside."""


def box_of(mask: Bitmaps) -> Corners:
    """The box around a mask H x W; of no size around nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def widened(box: Corners, way: CropDescriptor, level: int, width: int, height: int) -> Corners:
    """The box with its margins at a level, as far as that lies in a picture of this size."""
    x0, y0, x1, y1 = box
    across = way.margin_px + int(way.margin * (x1 - x0)) + int(way.level_margin * (x1 - x0)) * level
    down = way.margin_px + int(way.margin * (y1 - y0)) + int(way.level_margin * (y1 - y0)) * level
    return max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)


@dataclass(frozen=True)
class Crops:
    """The crops of one descriptor."""

    picture: Image.Image
    """RGB, as sent."""
    way: CropDescriptor

    @property
    def has_both(self) -> bool:
        """Whether each crop is looked at twice, without and with its own background."""
        return self.way.background is not Background.KEPT and self.way.masked_weight < 1

    @property
    def per_object(self) -> int:
        """How many crops an object has."""
        return self.way.levels * (2 if self.has_both else 1)

    def of(self, mask: Bitmaps) -> Iterator[Image.Image]:
        """The crops of one object: for each level the one with its background changed, then the plain one if wanted."""
        box = box_of(mask)
        for level in range(self.way.levels):
            step()
            x0, y0, x1, y1 = widened(box, self.way, level, *self.picture.size)
            plain = self._array[y0:y1, x0:x1]
            if self.way.background is not Background.KEPT:
                changed = plain.copy()
                outside = ~mask[y0:y1, x0:x1]
                changed[outside] = self._behind[y0:y1, x0:x1][outside]
                yield self._squared(changed)
            if self.has_both or self.way.background is Background.KEPT:
                yield self._squared(plain)

    @cached_property
    def _array(self) -> Pixels:
        return np.asarray(self.picture)

    @cached_property
    def _behind(self) -> Pixels:
        """What stands where the objects are not, H x W x 3."""
        return BEHIND[self.way.background](self._array, self.way.blur)

    def _squared(self, crop: Pixels) -> Image.Image:
        if self.way.squaring is Squaring.PAD:
            crop = _no_longer(crop, LARGEST_SQUARE)
            height, width = crop.shape[:2]
            side = max(height, width)
            top, left = (side - height) // 2, (side - width) // 2
            square = np.zeros((side, side, 3), np.uint8)
            square[top : top + height, left : left + width] = crop
            crop = square
        return Image.fromarray(crop)


def _no_longer(crop: Pixels, most: int) -> Pixels:
    """The crop, made smaller where it is longer than `most` pixels."""
    height, width = crop.shape[:2]
    longest = max(height, width)
    if longest <= most:
        return crop
    size = (max(1, round(width * most / longest)), max(1, round(height * most / longest)))
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


def _black(picture: Pixels, blur: float) -> Pixels:
    return np.broadcast_to(np.uint8(0), picture.shape)


def _grey(picture: Pixels, blur: float) -> Pixels:
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    return np.broadcast_to(grey[..., None], picture.shape)


def _blurred(picture: Pixels, blur: float) -> Pixels:
    """The whole picture blurred, in bands of rows, each with the rows around it that count for it."""
    reach = math.ceil(BLUR_REACH * blur)
    rows = max(BLUR_ROWS, reach)
    blurred = np.empty_like(picture)
    for first in range(0, len(picture), rows):
        step()
        above = max(0, first - reach)
        band = cv2.GaussianBlur(picture[above : first + rows + reach], (0, 0), blur)
        blurred[first : first + rows] = band[first - above :][:rows]
    return blurred


BEHIND: Mapping[Background, Callable[[Pixels, float], Pixels]] = {
    Background.BLACK: _black,
    Background.GREY: _grey,
    Background.BLUR: _blurred,
}
