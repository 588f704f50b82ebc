"""The colours of a picture as a network was trained on them: normalised as it is prepared, or in its pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.running.transfer import on_device
from featsvc.work.results import HeightWidth

COLOURS = 3
LARGEST_BYTE = 255
NO_BLANK = (0, 0)


class Normal(NamedTuple):
    """What is 0 to a network, and what is 1 more: three colours, or of two networks six."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def beside(self, other: Normal) -> Normal:
        """That of two networks which see one picture: each takes its half of the channels."""
        return Normal(self.mean + other.mean, self.std + other.std)


@dataclass(frozen=True)
class Seen:
    """A picture as a network sees it."""

    pixels: Tensor
    """3 x H x W: float32 that is normalised; on the way to a GPU, or to two networks, bytes that are not."""
    blank: HeightWidth = NO_BLANK
    """Of bytes, rows at the bottom and columns at the right that are to be 0 when the others are normalised."""
    fit: Callable[[Tensor], Tensor] | None = None
    """Of a picture that a GPU is sent as it is, bytes 3 x H' x W': what brings it to the network's size there."""

    def on(self, device: torch.device) -> Tensor:
        """Bytes 3 x H x W on a GPU."""
        there = on_device(self.pixels, device)
        return there if self.fit is None else self.fit(there)

    def on_cpu(self, normal: Normal) -> Tensor:
        """As networks on a CPU take it, 1 x 3 x H x W (two: 1 x 6), float32."""
        alone = self.pixels[None]
        return alone if alone.is_floating_point() else normalised(alone, normal, [self.blank])


def coloured(picture: Image, normal: Normal, device: torch.device) -> Tensor:
    """An RGB picture, 3 x H x W: normalised for one network on a CPU; for a GPU, and for two networks, its bytes."""
    if device.type == "cpu" and len(normal.mean) == COLOURS:
        values: Tensor = TF.normalize(TF.to_tensor(picture), normal.mean, normal.std)
        return values
    content: Tensor = TF.pil_to_tensor(picture)
    return content


def normalised(pictures: Tensor, normal: Normal, blanks: Sequence[HeightWidth]) -> Tensor:
    """Bytes N x 3 x H x W as a network takes them (two: N x 6), on their device; each with its margin of 0.

    By the CPU's operations in their order. A GPU divides by 255 a little otherwise: values differ by 1e-6 at most.
    """
    values = pictures.to(torch.float32).div_(LARGEST_BYTE)
    if (networks := len(normal.mean) // COLOURS) > 1:
        values = torch.cat([values] * networks, dim=1)
    normalise(values, normal)
    for each, (bottom, right) in zip(values, blanks, strict=True):
        if bottom:
            each[:, -bottom:].zero_()
        if right:
            each[:, :, -right:].zero_()
    return values


def normalise(values: Tensor, normal: Normal) -> None:
    """Brings values from 0 to 1, N x C x H x W, in place to what the network takes; no numbers go to their device."""
    for channel, (mean, std) in enumerate(zip(*normal, strict=True)):
        values[:, channel].sub_(mean).div_(std)
