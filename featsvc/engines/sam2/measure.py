"""Low-resolution masks at full size, a few at a time: their stability, boxes and run lengths are what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Bitmap, Box, run_lengths_within
from featsvc.engines.running.transfer import on_host
from featsvc.engines.sam2.decoder import full_size
from featsvc.engines.sam2.grid import Crop
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

Logits = NDArray[np.float32]
TOGETHER_BYTES = 1 << 28
"""Logits of the crop's size that a GPU makes before it is waited for."""


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
        """Each of n x h x w at the size of the crop."""
        return self._by_point(logits) if logits.device.type == "cpu" else self._together(logits)

    def _by_point(self, logits: Tensor) -> Iterator[SizedMask]:
        """A point's alternatives after the other's, each looked at where it lies in memory."""
        for start in range(0, len(logits), self._channels):
            group = logits[start : start + self._channels]
            missing = self._channels - len(group)
            channels = torch.cat([group, group[-1:].expand(missing, -1, -1)]) if missing else group
            for each in self._interpolated(channels[None]).numpy()[0, : len(group)]:
                inner, outer = (self._area(each, threshold) for threshold in self._thresholds)
                yield SizedMask(Areas(inner, outer), partial(self._bitmap, each))

    def _together(self, logits: Tensor) -> Iterator[SizedMask]:
        """Many at once, measured on their device: for each of them it would have to be waited for."""
        height, width = self._crop.size
        together = max(1, TOGETHER_BYTES // (height * width * logits.itemsize))
        for start in range(0, len(logits), together):
            full = full_size(logits[None, start : start + together], self._crop.size)[0]
            counts = torch.stack([(full > each).sum(dim=(1, 2)) for each in self._thresholds], dim=1)
            areas, inside = on_host(counts, full > self._params.mask_threshold)
            for (inner, outer), bitmap in zip(areas.tolist(), inside.numpy(), strict=True):
                yield SizedMask(Areas(inner, outer), partial(np.asarray, bitmap))

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
        left, top, _, _ = self._crop.box
        there = (x0 + left, y0 + top, x1 + left, y1 + top)
        return run_lengths_within(mask.bitmap[y0:y1, x0:x1], there, self._picture_size)
