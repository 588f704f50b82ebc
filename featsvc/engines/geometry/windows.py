"""A window that slides over a picture: where it stands, and the mean of what is computed of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from featsvc.work.results import Geometry

PIXELS_AT_ONCE = 1 << 22
"""Pixels of windows that a GPU sees in one pass."""


@dataclass(frozen=True)
class Windows:
    """Windows of `side` cells of the grid along each axis, every `stride` cells."""

    side: int
    stride: int

    def starts(self, cells: int) -> list[int]:
        """First cells of the windows along an axis: the last one ends where the axis does."""
        last = max(0, cells - self.side)
        return [*range(0, last, self.stride), last]

    def count(self, geometry: Geometry) -> int:
        """How many there are."""
        return len(self.starts(geometry.grid_height)) * len(self.starts(geometry.grid_width))

    def cells(self, geometry: Geometry) -> int:
        """Cells of one window, which is no larger than the grid."""
        return min(self.side, geometry.grid_height) * min(self.side, geometry.grid_width)


def over_windows(pixels: Tensor, patch: int, windows: Windows, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean features N x h x w x D, float32, of pictures N x C x H x W, over the windows that each cell lies in.

    C is 3 for each network that sees them. `forward` makes features of windows n x C x h x w, with a cell every `patch`
    pixels. H and W are multiples of it.
    """
    count, _, *size = pixels.shape
    height, width = (each // patch for each in size)
    tall, wide = min(windows.side, height), min(windows.side, width)
    # Alone on a CPU, as whole pictures are: nothing is gained there by more at once.
    is_alone = pixels.device.type == "cpu"
    together = 1 if is_alone else max(1, PIXELS_AT_ONCE // (count * tall * wide * patch**2))
    total, seen = torch.empty(0), pixels.new_zeros(height, width, 1, dtype=torch.float32)
    corners = list(product(windows.starts(height), windows.starts(width)))
    for first in range(0, len(corners), together):
        some = corners[first : first + together]
        views = [
            pixels[:, :, top * patch : (top + tall) * patch, left * patch : (left + wide) * patch]
            for top, left in some
        ]
        features = forward(torch.cat(views)).float().view(len(some), count, tall, wide, -1)
        if not total.numel():
            total = features.new_zeros(count, height, width, features.shape[-1])
        for (top, left), each in zip(some, features, strict=True):
            total[:, top : top + tall, left : left + wide] += each
            seen[top : top + tall, left : left + wide] += 1
    return total.div_(seen)
