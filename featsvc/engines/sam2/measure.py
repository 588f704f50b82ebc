"""Low-resolution masks at full size, a few at a time: their stability, boxes and run lengths are what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Bitmap, Box, run_lengths_within
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_host
from featsvc.engines.sam2.decoder import full_size
from featsvc.engines.sam2.grid import Crop
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

Logits = NDArray[np.float32]
TOGETHER_BYTES = 1 << 28
"""Logits of the crop's size that a GPU makes at a time."""


class Areas(NamedTuple):
    """Pixels of a mask at a higher and at a lower threshold."""

    inner: int
    outer: int


class SizedMask(NamedTuple):
    """A mask at the size of the crop."""

    areas: Areas
    bitmap: Callable[[], Bitmap]
    """Gives the mask itself, H x W; to be asked, and good, until the next one is asked for."""


class BoxedMask(NamedTuple):
    """A mask H x W and the box around it."""

    bitmap: Bitmap
    box: Box


def boxed(bitmap: Bitmap) -> BoxedMask:
    """A mask with its box."""
    x, y, width, height = cv2.boundingRect(bitmap.view(np.uint8))
    return BoxedMask(bitmap, (x, y, x + width, y + height))


class MaskFacts(NamedTuple):
    """What is known of a mask whose pixels nobody has seen."""

    areas: Areas
    box: Box
    """In the crop; around nothing its right is not beyond its left."""


class DeviceMask(NamedTuple):
    """A mask that is still low-resolution logits in a GPU's memory."""

    logits: Tensor
    """h x w."""
    crop: Crop
    box: Box
    """In the crop."""


def apart(masks: Sequence[DeviceMask]) -> list[DeviceMask]:
    """Copies of masks that are parts of larger tensors, so that the rest of those can go."""
    if not masks:
        return []
    logits = torch.stack([each.logits for each in masks])
    return [mask._replace(logits=own) for mask, own in zip(masks, logits, strict=True)]


def parts_in_boxes(masks: Sequence[DeviceMask], threshold: float) -> list[Bitmap]:
    """The part of each mask that is in its box, after one wait for their device."""
    if not masks:
        return []
    parts: list[Tensor] = []
    for _, own in groupby(masks, lambda mask: mask.crop.box):
        left = list(own)
        crop, together = left[0].crop, _together(left[0].crop, left[0].logits)
        for start in range(0, len(left), together):
            step()
            some = left[start : start + together]
            inside = full_size(torch.stack([each.logits for each in some])[None], crop.size)[0] > threshold
            for mask, (x0, y0, x1, y1) in zip(inside, (each.box for each in some), strict=True):
                parts.append(mask[y0:y1, x0:x1].flatten())
    (every,) = on_host(torch.cat(parts))
    pixels = torch.split(every, [len(each) for each in parts])
    return [
        part.view(each.box[3] - each.box[1], each.box[2] - each.box[0]).numpy()
        for part, each in zip(pixels, masks, strict=True)
    ]


def _together(crop: Crop, logits: Tensor) -> int:
    """How many masks a GPU brings to the size of the crop at a time."""
    height, width = crop.size
    return max(1, TOGETHER_BYTES // (height * width * logits.itemsize))


def _where(inside: Tensor, places: Tensor, otherwise: int) -> Tensor:
    """The places n x side that are inside, and another number for the others."""
    return torch.where(inside, places, otherwise)


class FullSize:
    """Masks of one crop, brought to its size in memory that is used again for the next ones."""

    def __init__(self, crop: Crop, picture_size: HeightWidth, params: GenerateMasksParams) -> None:
        self._crop = crop
        self._picture_size = picture_size
        self._params = params
        # One point's alternatives are interpolated together, as upstream does: torch gives other last bits for one
        # channel than for three.
        self._channels = 3 if params.multimask_output and not params.use_m2m else 1
        self._inside = np.empty(crop.size, np.bool_)
        self._logits = torch.empty(0)

    def of(self, logits: Tensor) -> Iterator[SizedMask]:
        """Each of n x h x w at the size of the crop, on a CPU: a point's alternatives after the other's.

        Each is looked at where it lies in memory.
        """
        for start in range(0, len(logits), self._channels):
            group = logits[start : start + self._channels]
            missing = self._channels - len(group)
            channels = torch.cat([group, group[-1:].expand(missing, -1, -1)]) if missing else group
            for each in self._interpolated(channels[None]).numpy()[0, : len(group)]:
                inner, outer = (self._area(each, threshold) for threshold in self._thresholds)
                yield SizedMask(Areas(inner, outer), partial(self._bitmap, each))

    def facts(self, logits: Tensor) -> list[MaskFacts]:
        """What is to be known of each of n x h x w at the size of the crop, after one wait for the GPU."""
        height, width = self._crop.size
        rows, columns = (torch.arange(side, device=logits.device) for side in (height, width))
        parts = []
        for some in torch.split(logits, _together(self._crop, logits)):
            step()
            full = full_size(some[None], self._crop.size)[0]
            areas = [(full > each).sum(dim=(1, 2)) for each in self._thresholds]
            inside = full > self._params.mask_threshold
            across, down = inside.any(dim=1), inside.any(dim=2)
            low = [_where(across, columns, width).amin(1), _where(down, rows, height).amin(1)]
            high = [_where(across, columns + 1, 0).amax(1), _where(down, rows + 1, 0).amax(1)]
            parts.append(torch.stack([*areas, *low, *high], dim=1))
        (every,) = on_host(torch.cat(parts))
        return [
            MaskFacts(Areas(inner, outer), (x0, y0, x1, y1))
            for inner, outer, x0, y0, x1, y1 in every.tolist()
        ]

    def _interpolated(self, logits: Tensor) -> Tensor:
        """As `SAM2Transforms.postprocess_masks`, into memory that is there: fresh pages would cost as much again."""
        size = list(self._crop.size)
        if not self._logits.numel():
            self._logits = logits.new_empty((1, self._channels, *size))
        torch.ops.aten.upsample_bilinear2d.out(logits, size, False, out=self._logits)
        return self._logits

    @property
    def _thresholds(self) -> tuple[float, float]:
        """The higher and the lower one of a mask's stability (`calculate_stability_score`)."""
        threshold, offset = self._params.mask_threshold, self._params.stability_score_offset
        return threshold + offset, threshold - offset

    def _area(self, logits: Logits, threshold: float) -> int:
        return int(np.count_nonzero(np.greater(logits, np.float32(threshold), out=self._inside)))

    def _bitmap(self, logits: Logits) -> Bitmap:
        return np.greater(logits, np.float32(self._params.mask_threshold), out=self._inside)

    def runs(self, mask: BoxedMask) -> Counts:
        """Run lengths of a mask of the crop, in the frame of the whole picture."""
        x0, y0, x1, y1 = mask.box
        return run_lengths_in(mask.bitmap[y0:y1, x0:x1], mask.box, self._crop, self._picture_size)


def run_lengths_in(part: Bitmap, box: Box, crop: Crop, picture_size: HeightWidth) -> Counts:
    """Run lengths in the frame of the whole picture, of a mask of the crop that is empty outside of the box."""
    x0, y0, x1, y1 = box
    left, top, _, _ = crop.box
    return run_lengths_within(part, (x0 + left, y0 + top, x1 + left, y1 + top), picture_size)
