"""Candidate masks of a picture, what is known of them, and their pixels: run lengths, or logits in a GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.running.steps import step
from featsvc.engines.sam2.measure import DeviceMask, apart, parts_in_boxes, run_lengths_in
from featsvc.work.results import HeightWidth


@dataclass(frozen=True)
class Candidates:
    """n masks; all tensors on the CPU, boxes and points in pixels of the whole picture."""

    boxes: Tensor
    """Corners, n x 4."""
    ious: Tensor
    points: Tensor
    """n x 2."""
    stability: Tensor
    outputs: Tensor
    """Which of the masks of its point each is, n."""
    crops: Tensor
    """Corners of the crop that each came from, n x 4."""
    masks: tuple[Counts | DeviceMask, ...]
    """Run lengths in the frame of the whole picture, which of those on a GPU are made when few are left."""

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def waiting_bytes(self) -> int:
        """What those take whose pixels are in a GPU's memory."""
        return sum(each.logits.nbytes for each in self.masks if isinstance(each, DeviceMask))

    @cached_property
    def runs(self) -> tuple[Counts, ...]:
        """Run lengths of all masks, which are complete."""
        return tuple(each for each in self.masks if not isinstance(each, DeviceMask))

    def completed(self, picture_size: HeightWidth, threshold: float) -> Candidates:
        """The same with all run lengths, after one wait for the GPU that has masks of them."""
        parts = iter(parts_in_boxes([each for each in self.masks if isinstance(each, DeviceMask)], threshold))
        masks = list[Counts | DeviceMask]()
        for each in self.masks:
            step()
            if isinstance(each, DeviceMask):
                masks.append(run_lengths_in(next(parts), each.box, each.crop, picture_size))
            else:
                masks.append(each)
        return replace(self, masks=tuple(masks))

    def apart(self) -> Candidates:
        """The same without the memory of those that they were chosen from."""
        copies = iter(apart([each for each in self.masks if isinstance(each, DeviceMask)]))
        masks = (next(copies) if isinstance(each, DeviceMask) else each for each in self.masks)
        return replace(self, masks=tuple(masks))

    def at(self, indices: Tensor) -> Candidates:
        """Those at these indices, in their order."""
        return Candidates(
            boxes=self.boxes[indices],
            ious=self.ious[indices],
            points=self.points[indices],
            stability=self.stability[indices],
            outputs=self.outputs[indices],
            crops=self.crops[indices],
            masks=tuple(self.masks[index] for index in indices.tolist()),
        )


def joined(parts: list[Candidates]) -> Candidates:
    """All of them, in order."""
    return Candidates(
        boxes=torch.cat([part.boxes for part in parts]),
        ious=torch.cat([part.ious for part in parts]),
        points=torch.cat([part.points for part in parts]),
        stability=torch.cat([part.stability for part in parts]),
        outputs=torch.cat([part.outputs for part in parts]),
        crops=torch.cat([part.crops for part in parts]),
        masks=tuple(each for part in parts for each in part.masks),
    )


class Gathering:
    """Candidates that come in parts, and wait in a GPU's memory where they do not take too much of it."""

    def __init__(self, picture_size: HeightWidth, threshold: float, most_bytes: int) -> None:
        """`threshold` is that of a mask's pixels."""
        self._picture_size = picture_size
        self._threshold = threshold
        self._most_bytes = most_bytes
        self._parts: list[Candidates] = []
        self._waiting_bytes = 0

    def add(self, part: Candidates) -> None:
        """Take the next; where too many wait, their pixels come home."""
        self._parts.append(part)
        self._waiting_bytes += part.waiting_bytes
        if self._waiting_bytes > self._most_bytes:
            self._parts = [self.all().completed(self._picture_size, self._threshold)]
            self._waiting_bytes = 0

    def all(self) -> Candidates:
        """All of them, in order."""
        return joined(self._parts)
