"""Pillow's bicubic resizing on a device, with Pillow's bytes: its whole numbers, in products of matrices.

Pillow rounds the weights of pixels to 22 bits behind the point, and sums of pixels to bytes after the columns and again
after the rows. Here weights are in two parts of at most 12 bits, so that whatever a product of float32 adds up is a
whole number below 2^24, and exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
        """Bytes 3 x `height` x `width`, those that Pillow makes."""
        channels, height, width = pixels.shape
        device = pixels.device
        with unrounded():
            if width != self.width:
                rows = pixels.reshape(channels * height, width).to(torch.float32)
                high, low = weights(width, self.width).on(width, device)
                pixels = _bytes(rows @ high.T, rows @ low.T).view(channels, height, self.width)
            if height != self.height:
                columns = pixels.to(torch.float32)
                high, low = weights(height, self.height).on(height, device)
                pixels = _bytes(high @ columns, low @ columns)
        return pixels


def can_resize(size: tuple[int, int], height: int, width: int) -> bool:
    """Whether a picture of this width and height becomes that by exact arithmetic."""
    return max(size[0] / width, size[1] / height) <= MOST_TIMES


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
