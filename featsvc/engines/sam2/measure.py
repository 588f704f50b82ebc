"""Low-resolution masks at full size, a few at a time: their stability, boxes and run lengths are what stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Bitmap, Box, run_lengths_within
from featsvc.engines.sam2.grid import Crop
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

Logits = NDArray[np.float32]


class Areas(NamedTuple):
    """Pixels of a mask at a higher and at a lower threshold."""

    inner: int
    outer: int


class BoxedMask(NamedTuple):
    """A mask H x W and the box around it."""

    bitmap: Bitmap
    box: Box


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

    def of(self, logits: Tensor) -> Iterator[Logits]:
        """Each of n x h x w at the size of the crop, H x W; good until the next is asked for."""
        for start in range(0, len(logits), self._channels):
            group = logits[start : start + self._channels]
            missing = self._channels - len(group)
            channels = torch.cat([group, group[-1:].expand(missing, -1, -1)]) if missing else group
            yield from self._interpolated(channels[None]).cpu().numpy()[0, : len(group)]

    def _interpolated(self, logits: Tensor) -> Tensor:
        """As `SAM2Transforms.postprocess_masks`, into memory that is there: fresh pages would cost as much again."""
        size = list(self._crop.size)
        if self._logits.device != logits.device or not self._logits.numel():
            self._logits = logits.new_empty((1, self._channels, *size))
        torch.ops.aten.upsample_bilinear2d.out(logits, size, False, out=self._logits)
        return self._logits

    def areas(self, logits: Logits) -> Areas:
        """Pixels of a mask H x W at a higher and at a lower threshold (`calculate_stability_score`)."""
        threshold, offset = self._params.mask_threshold, self._params.stability_score_offset
        return Areas(self._area(logits, threshold + offset), self._area(logits, threshold - offset))

    def _area(self, logits: Logits, threshold: float) -> int:
        return int(np.count_nonzero(np.greater(logits, np.float32(threshold), out=self._inside)))

    def mask(self, logits: Logits) -> BoxedMask:
        """The mask itself, good until the next one."""
        inside = np.greater(logits, np.float32(self._params.mask_threshold), out=self._inside)
        x, y, width, height = cv2.boundingRect(inside.view(np.uint8))
        return BoxedMask(inside, (x, y, x + width, y + height))

    def runs(self, mask: BoxedMask) -> Counts:
        """Run lengths of a mask of the crop, in the frame of the whole picture."""
        x0, y0, x1, y1 = mask.box
        left, top, _, _ = self._crop.box
        there = (x0 + left, y0 + top, x1 + left, y1 + top)
        return run_lengths_within(mask.bitmap[y0:y1, x0:x1], there, self._picture_size)
