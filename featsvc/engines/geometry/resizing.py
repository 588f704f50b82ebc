"""Pillow's bicubic resizing on a device, with Pillow's bytes: its whole numbers, in products of matrices.

Pillow rounds the weights of pixels to 22 bits behind the point, and sums of pixels to bytes after one side and again
after the other. Which side comes first depends on its version and on the sizes, and is tried. Here weights are in two
parts of at most 12 bits, so that whatever a product of float32 adds up is a whole number below 2^24, and exact in any
order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featsvc.engines.running.products import unrounded
from featsvc.engines.running.transfer import on_device

SUPPORT = 2.0
"""Pixels of the filter to each side, where a picture does not become smaller."""
SHARPNESS = -0.5
"""The parameter of Pillow's cubic."""
BITS, LOW_BITS = 22, 11
"""Of a weight behind the point, and of those the lower part."""
LARGEST_BYTE = 255
MOST_TIMES = 15
"""How many times smaller a side may become: 61 lower parts of up to 2^10, times 255, are below 2^24."""
MOST_SENT = 1 << 24
"""Pixels of a picture that a GPU brings to size: 48 MB of bytes on their way, and 200 MB of float32 there."""
Size = tuple[int, int]
"""Width and height."""
Order = Callable[[Size, Size], bool]
"""Whether a picture of one size gets the height of the other before its width."""
KEPT = 64
"""Weights of so many pairs of sides are kept, 100 KB each for 1920 to 600 pixels."""


class PixelWeights(NamedTuple):
    """What each of n pixels of a side is made of: of k pixels of the other one, or fewer with weights of 0 behind."""

    table: NDArray[np.float32]
    """The first of those k, and the upper and the lower part of the weights, n x (1 + 2 k): one thing to send."""

    def on(self, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Both parts as matrices n x `side` on a device."""
        table = on_device(torch.from_numpy(self.table), device)
        taps = self.table.shape[1] // 2
        places = (table[:, :1].to(torch.int64) + torch.arange(taps, device=device)).clamp_(max=side - 1)
        none = torch.zeros(len(table), side, device=device)
        return none.scatter_add(1, places, table[:, 1 : 1 + taps]), none.scatter_add(
            1, places, table[:, 1 + taps :]
        )


@dataclass(frozen=True)
class Resizing:
    """Bytes 3 x H x W to another height and width, on their device."""

    height: int
    width: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Bytes 3 x `height` x `width`, those that Pillow makes of a picture that `can_resize`."""
        _, height, width = pixels.shape
        order = pillows_order()
        with unrounded():
            if order is not None and order((width, height), (self.width, self.height)):
                return self._wide(self._high(pixels))
            return self._high(self._wide(pixels))

    def _wide(self, pixels: Tensor) -> Tensor:
        """The same with the new width."""
        channels, height, width = pixels.shape
        if width == self.width:
            return pixels
        rows = pixels.reshape(channels * height, width).to(torch.float32)
        high, low = weights(width, self.width).on(width, pixels.device)
        return _bytes(rows @ high.T, rows @ low.T).view(channels, height, self.width)

    def _high(self, pixels: Tensor) -> Tensor:
        """The same with the new height."""
        height = pixels.shape[1]
        if height == self.height:
            return pixels
        columns = pixels.to(torch.float32)
        high, low = weights(height, self.height).on(height, pixels.device)
        return _bytes(high @ columns, low @ columns)


def can_resize(size: Size, height: int, width: int) -> bool:
    """Whether a picture of this size becomes that by exact arithmetic, in an order that is known to be Pillow's."""
    return max(size[0] / width, size[1] / height) <= MOST_TIMES and pillows_order() is not None


def _of_pillow_13(size: Size, wanted: Size) -> bool:
    """Where the height loses pixels, and more than twice as many as the width."""
    return size[1] - wanted[1] > max(0, 2 * (size[0] - wanted[0]))


def _of_late_pillow_12(size: Size, wanted: Size) -> bool:
    """Where a picture is more than 100 times as high as wide, and becomes less high."""
    return size[1] > 100 * size[0] and wanted[1] < size[1]


def _of_early_pillow_12(_size: Size, _wanted: Size) -> bool:
    """Never; of 11 too."""
    return False


ORDERS: tuple[Order, ...] = (_of_pillow_13, _of_late_pillow_12, _of_early_pillow_12)
TRIALS: tuple[tuple[Size, Size], ...] = (
    ((25, 61), (15, 40)),
    ((25, 60), (15, 40)),
    ((60, 25), (40, 15)),
    ((30, 30), (40, 20)),
    ((30, 30), (20, 40)),
    ((20, 20), (30, 30)),
    ((4, 401), (3, 390)),
    ((4, 400), (3, 390)),
    ((4, 400), (2, 398)),
    ((4, 401), (2, 398)),
)
"""What tells the orders apart, to both sides of where they change."""


@lru_cache(1)
def pillows_order() -> Order | None:
    """The order of the Pillow that is installed; None where it has none that is known, and a CPU is to resize."""
    return next((order for order in ORDERS if all(_agrees(order, *trial) for trial in TRIALS)), None)


def _agrees(order: Order, size: Size, wanted: Size) -> bool:
    """Whether Pillow's bytes of noise are those of its two steps in this order."""
    noise = np.random.default_rng(0).integers(0, LARGEST_BYTE + 1, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    between = (size[0], wanted[1]) if order(size, wanted) else (wanted[0], size[1])
    steps = picture.resize(between, Image.Resampling.BICUBIC).resize(wanted, Image.Resampling.BICUBIC)
    return steps.tobytes() == picture.resize(wanted, Image.Resampling.BICUBIC).tobytes()


@lru_cache(KEPT)
def weights(side: int, wanted: int) -> PixelWeights:
    """Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` for the cubic: `wanted` pixels of `side`."""
    scale = side / wanted
    stretch = max(1.0, scale)
    support = SUPPORT * stretch
    centres = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), side)
    taps = np.arange(int((last - first).max()))
    values = _cubic((taps + first[:, None] - centres[:, None] + 0.5) * (1.0 / stretch))
    values[taps >= (last - first)[:, None]] = 0
    # One after the other, as Pillow adds them up.
    values /= np.cumsum(values, axis=1)[:, -1:]
    whole = np.trunc(values * (1 << BITS) + np.copysign(0.5, values))
    high = np.round(whole / (1 << LOW_BITS))
    low = whole - high * (1 << LOW_BITS)
    return PixelWeights(np.concatenate([first[:, None], high, low], axis=1).astype(np.float32))


def _cubic(places: NDArray[np.float64]) -> NDArray[np.float64]:
    x, a = np.abs(places), SHARPNESS
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    made: NDArray[np.float64] = np.where(x < 1.0, near, np.where(x < SUPPORT, far, 0.0))
    return made


def _bytes(high: Tensor, low: Tensor) -> Tensor:
    """Sums of both parts, rounded."""
    sums = high.to(torch.int32).mul_(1 << LOW_BITS).add_(low.to(torch.int32)).add_(1 << (BITS - 1))
    return sums.bitwise_right_shift_(BITS).clamp_(0, LARGEST_BYTE).to(torch.uint8)
