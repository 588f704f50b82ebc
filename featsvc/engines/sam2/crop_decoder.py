"""Low-resolution masks of a crop's points, before any of them is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featsvc.engines.running.gpu import usable_bytes
from featsvc.engines.running.transfer import on_device
from featsvc.engines.sam2.decoder import LOGIT_LIMIT
from featsvc.engines.sam2.embedding import to_network
from featsvc.engines.sam2.passes import WHOLE_BATCHES, BatchSlice, Pass, Passes
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

MOST_REFINED = 256
"""Points whose masks wait for their refinement: 200 MB of 256 x 256 logits."""


@dataclass(frozen=True)
class PointMasks:
    """n low-resolution masks with what is known of them."""

    logits: Tensor
    """n x h x w."""
    ious: Tensor
    """Predicted, n."""
    points: Tensor
    """n x 2 in pixels of the crop, in the host's memory."""
    outputs: Tensor
    """Which of the masks of its point each is, n, in the host's memory."""

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def nbytes(self) -> int:
        """Memory of the logits."""
        return self.logits.nbytes

    @property
    def halves(self) -> tuple[PointMasks, PointMasks]:
        """The first of them, and the others."""
        parts = (each.tensor_split(2) for each in (self.logits, self.ious, self.points, self.outputs))
        first, second = zip(*parts, strict=True)
        return PointMasks(*first), PointMasks(*second)

    def slice(self, own: slice) -> PointMasks:
        """Some that are beside each other."""
        return PointMasks(self.logits[own], self.ious[own], self.points[own], self.outputs[own])

    def at(self, indices: Tensor) -> PointMasks:
        """Those at these indices, in their order; what is known of them is in the host's memory."""
        there = on_device(indices, self.logits.device)
        return PointMasks(self.logits[there], self.ious[indices], self.points[indices], self.outputs[indices])


def joined_masks(parts: list[PointMasks]) -> PointMasks:
    """All of them, in order."""
    return PointMasks(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.ious for part in parts]),
        torch.cat([part.points for part in parts]),
        torch.cat([part.outputs for part in parts]),
    )


class CropDecoder:
    """The mask decoder asked about points of one crop, under one set of options."""

    def __init__(
        self, decoder: PointDecoder, passes: Passes, size: HeightWidth, params: GenerateMasksParams
    ) -> None:
        """`size` is the crop's, height and width."""
        self._decoder = decoder
        self._passes = passes
        self._size = size
        self._params = params
        # Where a GPU is asked which masks are worth making, it stands still until it is told.
        self._least_iou = params.pred_iou_thresh if self.device.type == "cpu" else 0.0

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._decoder.device

    @property
    def passes(self) -> Passes:
        """How batches are cut for the network."""
        return self._passes

    def per_batch(self) -> int:
        """Points in a batch: as many as were asked for, or have memory."""
        params = self._params
        usable = usable_bytes(self.device)
        return self._passes.fitting(params.points_per_batch, usable, with_masks=params.use_m2m)

    def parts(self, count: int, per_batch: int) -> list[Pass]:
        """Points whose masks are made together."""
        if not self._params.use_m2m:
            return self._passes.of(count, per_batch)
        # Upstream refines the masks of a whole batch together, so a batch stays whole until then.
        return WHOLE_BATCHES.of(count, min(per_batch, MOST_REFINED))

    def masks(self, points: Tensor, batch: BatchSlice, per_batch: int) -> PointMasks:
        """Masks of points n x 2, which are one of the `parts`; on a CPU without those of points that have no good one.

        A GPU is given all of it and is not waited for.
        """
        if self._params.use_m2m:
            return self._refined(points, per_batch)
        return self._decoded(points, batch, least_iou=self._least_iou)

    def _decoded(
        self,
        points: Tensor,
        batch: BatchSlice,
        refined: PointMasks | None = None,
        least_iou: float = 0.0,
    ) -> PointMasks:
        """Masks of foreground points n x 2, but of those that have no good one; or one for each mask to be refined."""
        prompts = None if refined is None else refined.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)[:, None]
        coords = on_device(to_network(points, self._size, self._decoder.image_size)[:, None], self.device)
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=self.device)
        several = self._params.multimask_output and refined is None
        answers = self._decoder.answers(Prompts(coords, labels, prompts), several, least_iou, batch)
        ious = answers.masks.ious
        each = points[answers.indices].repeat_interleave(ious.shape[1], dim=0)
        kinds = torch.arange(ious.shape[1]).repeat(len(ious))
        outputs = kinds if refined is None else refined.outputs[answers.indices]
        return PointMasks(answers.masks.logits.flatten(0, 1), ious.flatten(0, 1), each, outputs)

    def _refined(self, points: Tensor, per_batch: int) -> PointMasks:
        """Masks of a batch of points after one more step for each, with itself as prompt (`refine_with_m2m`)."""
        first = joined_masks(
            [self._decoded(points[own], batch) for own, batch in self._passes.of(len(points), per_batch)]
        )
        refined = []
        for own, batch in self._passes.of(len(first), per_batch, with_masks=True):
            some = first.slice(own)
            refined.append(self._decoded(some.points, batch, some, self._least_iou))
        return joined_masks(refined)
