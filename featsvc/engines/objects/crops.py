"""The part of a picture around each object, as a network is to see it: docs/formulas.md, "Objects"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.running.colours import COLOURS
from featsvc.engines.running.steps import step
from featsvc.v1.schema import Background, CropDescriptor, Squaring

LARGEST_SQUARE = 4096
"""Side of the largest square that a crop is padded to: a longer crop is made smaller before. Networks see far less."""
BLUR_ROWS = 256
"""Rows of a picture that are blurred at a time, or more where the blur reaches as far."""
BLUR_REACH = 4
"""Standard deviations beyond which no pixel counts for a blurred one; OpenCV's kernel ends at three."""
BLUR_KERNEL = 3
"""Standard deviations to which OpenCV's kernel goes on each side, of bytes."""
SHARPEST_BLUR = 8
"""Least standard deviation, in its own pixels, of a picture that is made smaller to be blurred: no loss is seen."""
Pixels = NDArray[np.uint8]
T = TypeVar("T", np.uint8, np.float32)
Corners = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two just outside."""


def box_of(mask: Bitmaps) -> Corners:
    """The box around a mask H x W; of no size around nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def sam_box_of(mask: Bitmaps) -> Corners:
    """The same as SAM's `bbox` has it, without its last row and column; of one pixel at least."""
    x0, y0, x1, y1 = box_of(mask)
    return x0, y0, max(min(x0 + 1, x1), x1 - 1), max(min(y0 + 1, y1), y1 - 1)


def widened(
    box: Corners, way: CropDescriptor, level: int, size: tuple[int, int], further: int = 0
) -> Corners:
    """The box with its margins at a level and some pixels further, as far as that lies in a picture of this size.

    The size is width and height.
    """
    x0, y0, x1, y1 = box
    width, height = size
    margin = way.margin_px + further
    across = margin + int(way.margin * (x1 - x0)) + int(way.level_margin * (x1 - x0)) * level
    down = margin + int(way.margin * (y1 - y0)) + int(way.level_margin * (y1 - y0)) * level
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

    @property
    def blur_flop(self) -> float:
        """What blurring the whole picture costs: OpenCV's kernel along the rows, then along the columns."""
        if self.way.background is not Background.BLUR:
            return 0.0
        width, height = self.picture.size
        times = _times_smaller(self.way.blur)
        reach = (BLUR_REACH if times > 1 else BLUR_KERNEL) * self.way.blur / times
        return 2.0 * 2 * COLOURS * (width / times) * (height / times) * (2 * reach + 1)

    def of(self, mask: Bitmaps) -> Iterator[Image.Image]:
        """The crops of one object: for each level the one with its background changed, then the plain one if wanted."""
        way, size = self.way, self.picture.size
        box = sam_box_of(mask) if way.sam_box else box_of(mask)
        for level in range(way.levels):
            step()
            if way.background is not Background.KEPT:
                x0, y0, x1, y1 = widened(box, way, level, size)
                changed = self._array[y0:y1, x0:x1].copy()
                outside = ~mask[y0:y1, x0:x1]
                changed[outside] = self._behind[y0:y1, x0:x1][outside]
                yield self._squared(changed)
            if self.has_both or way.background is Background.KEPT:
                x0, y0, x1, y1 = widened(box, way, level, size, way.plain_margin_px)
                yield self._squared(self._array[y0:y1, x0:x1])

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
            longer = max(height, width)
            top, left = (longer - height) // 2, (longer - width) // 2
            square = np.zeros((longer, longer, 3), np.uint8)
            square[top : top + height, left : left + width] = crop
            crop = square
        if side := self.way.square_side:
            crop = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
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
    """The whole picture blurred; by a wide blur made smaller before, and brought back to its size.

    What the means over blocks and the way back spread by themselves is taken off the variance.
    """
    times = _times_smaller(blur)
    if times == 1:
        return _in_bands(picture, (blur, blur), cv2.BORDER_DEFAULT)
    height, width = picture.shape[:2]
    smaller = cv2.resize(picture, (-(-width // times), -(-height // times)), interpolation=cv2.INTER_AREA)
    steps = width / smaller.shape[1], height / smaller.shape[0]
    across, down = (math.sqrt(blur**2 - (length**2 - 1) / 4) / length for length in steps)
    spread = _in_bands(smaller.astype(np.float32), (across, down), cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(np.rint(spread).astype(np.uint8), (width, height)), np.uint8)


def _times_smaller(blur: float) -> int:
    """How many times smaller a picture is made to be blurred so: a power of two."""
    return int(2 ** max(0, math.floor(math.log2(blur / SHARPEST_BLUR))))


def _in_bands(picture: NDArray[T], blurs: tuple[float, float], border: int) -> NDArray[T]:
    """The picture blurred along rows and columns, in bands of rows, each with the rows around it that count for it."""
    across, down = blurs
    reach = math.ceil(BLUR_REACH * down)
    rows = max(BLUR_ROWS, reach)
    blurred = np.empty_like(picture)
    for first in range(0, len(picture), rows):
        step()
        above = max(0, first - reach)
        band = picture[above : first + rows + reach]
        blurred[first : first + rows] = cv2.GaussianBlur(
            band, (0, 0), across, sigmaY=down, borderType=border
        )[first - above :][:rows]
    return blurred


BEHIND: Mapping[Background, Callable[[Pixels, float], Pixels]] = {
    Background.BLACK: _black,
    Background.GREY: _grey,
    Background.BLUR: _blurred,
}
