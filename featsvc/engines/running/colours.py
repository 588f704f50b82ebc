"""The colours of a picture as a network was trained on them: normalised by the CPU, or by a GPU that is sent bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor

from featsvc.catalog.entry import Colours
from featsvc.work.results import HeightWidth

LARGEST_BYTE = 255
NO_BLANK = (0, 0)


class Normal(NamedTuple):
    """What is 0 to a network, and what is 1 more."""

    mean: Colours
    std: Colours


@dataclass(frozen=True)
class Seen:
    """A picture as a network sees it."""

    pixels: Tensor
    """3 x H x W: float32 that is normalised, or on the way to a GPU bytes that are not."""
    blank: HeightWidth = NO_BLANK
    """Of bytes, rows at the bottom and columns at the right that are to be 0 when the others are normalised."""


def coloured(picture: Image, normal: Normal, device: torch.device) -> Tensor:
    """An RGB picture, 3 x H x W: normalised for a CPU; for a GPU its bytes, a quarter as many."""
    if device.type == "cpu":
        values: Tensor = TF.normalize(TF.to_tensor(picture), normal.mean, normal.std)
        return values
    content: Tensor = TF.pil_to_tensor(picture)
    return content


def normalised(pictures: Tensor, normal: Normal, blanks: Sequence[HeightWidth]) -> Tensor:
    """Bytes N x 3 x H x W as a network takes them, on their device; each with its margin of 0.

    By the CPU's operations in their order. A GPU divides by 255 a little otherwise: values differ by 1e-6 at most.
    """
    values = pictures.to(torch.float32).div_(LARGEST_BYTE)
    for channel, (mean, std) in enumerate(zip(*normal, strict=True)):
        values[:, channel].sub_(mean).div_(std)
    for each, (bottom, right) in zip(values, blanks, strict=True):
        if bottom:
            each[:, -bottom:].zero_()
        if right:
            each[:, :, -right:].zero_()
    return values
