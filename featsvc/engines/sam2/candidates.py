"""Candidate masks of one crop: decoded point by point, filtered before anything is brought to full size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from sam2.utils.amg import is_box_near_crop_edge
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Box
from featsvc.engines.running.gpu import usable_bytes
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.engines.sam2.decoder import LOGIT_LIMIT
from featsvc.engines.sam2.embedding import to_network
from featsvc.engines.sam2.grid import Crop
from featsvc.engines.sam2.measure import Areas, FullSize, boxed
from featsvc.engines.sam2.passes import WHOLE_BATCHES, BatchSlice, Pass, Passes
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.engines.sam2.regions import cleaned
from featsvc.errors import OutOfMemory, is_out_of_memory
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

MOST_REFINED = 256
"""Points whose masks wait for their refinement: 200 MB of 256 x 256 logits."""
REGION_THRESHOLD = 0.0
"""Upstream's generator tells its mask_threshold to nobody, so regions are always those of logits above 0."""
Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class Candidates:
    """n masks; all tensors on the CPU, boxes and points in pixels of the whole picture."""

    boxes: Tensor
    """Corners, n x 4."""
    ious: Tensor
    points: Tensor
    """n x 2."""
    stability: Tensor
    crops: Tensor
    """Corners of the crop that each came from, n x 4."""
    runs: tuple[Counts, ...]
    """Run lengths in the frame of the whole picture."""

    def __len__(self) -> int:
        return len(self.runs)

    def at(self, indices: Tensor) -> Candidates:
        """Those at these indices, in their order."""
        return Candidates(
            boxes=self.boxes[indices],
            ious=self.ious[indices],
            points=self.points[indices],
            stability=self.stability[indices],
            crops=self.crops[indices],
            runs=tuple(self.runs[index] for index in indices.tolist()),
        )


def joined(parts: list[Candidates]) -> Candidates:
    """All of them, in order."""
    return Candidates(
        boxes=torch.cat([part.boxes for part in parts]),
        ious=torch.cat([part.ious for part in parts]),
        points=torch.cat([part.points for part in parts]),
        stability=torch.cat([part.stability for part in parts]),
        crops=torch.cat([part.crops for part in parts]),
        runs=tuple(run for part in parts for run in part.runs),
    )


@dataclass(frozen=True)
class _Masks:
    """Low-resolution masks with what is known of them: n x h x w, n, n x 2. Points are in the host's memory."""

    logits: Tensor
    ious: Tensor
    points: Tensor

    def known(self) -> _Masks:
        """The same with predicted IoUs in the host's memory."""
        (ious,) = on_host(self.ious)
        return _Masks(self.logits, ious, self.points)

    def over(self, least_iou: float) -> _Masks:
        """Those of a better predicted IoU, which is known."""
        keep = (self.ious > least_iou).nonzero().flatten()
        return _Masks(self.logits[on_device(keep, self.logits.device)], self.ious[keep], self.points[keep])


def _all(parts: list[_Masks]) -> _Masks:
    return _Masks(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.ious for part in parts]),
        torch.cat([part.points for part in parts]),
    )


class CropSearch:
    """One crop of a picture under one set of options."""

    def __init__(
        self,
        decoder: PointDecoder,
        passes: Passes,
        crop: Crop,
        size: HeightWidth,
        params: GenerateMasksParams,
    ) -> None:
        """`size` is the picture's, height and width."""
        self._decoder = decoder
        self._passes = passes
        self._crop = crop
        self._picture_size = size
        self._params = params
        self._full_size = FullSize(crop, size, params)

    def candidates(self) -> Candidates:
        """All masks of the crop's points that pass the filters, in upstream's order."""
        params = self._params
        usable = usable_bytes(self._decoder.device)
        per_batch = self._passes.fitting(params.points_per_batch, usable, with_masks=params.use_m2m)
        return joined(self._found(torch.as_tensor(self._crop.points, dtype=torch.float32), per_batch))

    def _found(self, points: Tensor, per_batch: int) -> list[Candidates]:
        """The same by batches, smaller ones from where memory runs out."""
        found: list[Candidates] = []
        for own, batch in self._parts(len(points), per_batch):
            candidates = self._attempt(points[own], batch, per_batch)
            if candidates is None:
                return [*found, *self._found(points[own.start :], len(points[own]) // 2)]
            found.append(candidates)
        return found

    def _parts(self, count: int, per_batch: int) -> Iterable[Pass]:
        """Points that are decoded and filtered together."""
        if not self._params.use_m2m:
            return self._passes.of(count, per_batch)
        # Upstream refines the masks of a whole batch together, so a batch stays whole until then.
        return WHOLE_BATCHES.of(count, min(per_batch, MOST_REFINED))

    def _attempt(self, points: Tensor, batch: BatchSlice, per_batch: int) -> Candidates | None:
        """Masks of some points that pass the filters; None where fewer at once may have memory enough."""
        try:
            if self._params.use_m2m:
                return self._filtered(self._refined(points, per_batch))
            return self._filtered(self._decoded(points, batch, least_iou=self._params.pred_iou_thresh))
        except Exception as error:  # each library says it in its own way
            if not (self._passes.may_be_cut and is_out_of_memory(error)):
                raise
            if len(points) == 1:
                raise OutOfMemory(
                    f"{self._decoder.device} has no memory for the masks of one point at a time, to which "
                    "points_per_batch was cut: try a smaller picture, or again later"
                ) from error
            return None

    def _filtered(self, masks: _Masks) -> Candidates:
        """As SAM2AutomaticMaskGenerator._process_batch, in an order that drops candidates early."""
        params = self._params
        masks = masks.known()
        if params.pred_iou_thresh > 0:
            masks = masks.over(params.pred_iou_thresh)
        area = params.min_mask_region_area
        return self._measured(
            _Masks(cleaned(masks.logits, area, area, REGION_THRESHOLD), masks.ious, masks.points)
        )

    def _decoded(
        self, points: Tensor, batch: BatchSlice, prompts: Tensor | None = None, least_iou: float = 0.0
    ) -> _Masks:
        """Masks of foreground points n x 2, but of those that have no good one; one each where there are mask prompts.

        Those are n x 1 x h x w.
        """
        device = self._decoder.device
        coords = on_device(to_network(points, self._crop.size, self._decoder.image_size)[:, None], device)
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=device)
        several = self._params.multimask_output and prompts is None
        answers = self._decoder.answers(Prompts(coords, labels, prompts), several, least_iou, batch)
        ious = answers.masks.ious
        each = points[answers.indices].repeat_interleave(ious.shape[1], dim=0)
        return _Masks(answers.masks.logits.flatten(0, 1), ious.flatten(0, 1), each)

    def _refined(self, points: Tensor, per_batch: int) -> _Masks:
        """Masks of a batch of points after one more step for each, with itself as prompt (`refine_with_m2m`)."""
        least = self._params.pred_iou_thresh
        first = _all(
            [self._decoded(points[own], batch) for own, batch in self._passes.of(len(points), per_batch)]
        )
        prompts = first.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)[:, None]
        passes = self._passes.of(len(prompts), per_batch, with_masks=True)
        return _all([self._decoded(first.points[own], batch, prompts[own], least) for own, batch in passes])

    def _measured(self, masks: _Masks) -> Candidates:
        """Those that are stable and away from the crop's edges, with what is known of them at full size."""
        least = self._params.stability_score_thresh
        stable: list[int] = []
        stability: list[np.float32] = []
        corners: list[Corners] = []
        runs: list[Counts] = []
        for index, sized in enumerate(self._full_size.of(masks.logits)):
            step()
            score = _stability(sized.areas)
            if least > 0 and not score >= least:
                continue
            mask = boxed(sized.bitmap())
            box = _inclusive(mask.box)
            if self._is_cut(box):
                continue
            stable.append(index)
            stability.append(score)
            corners.append(box)
            runs.append(self._full_size.runs(mask))
        x0, y0, _, _ = self._crop.box
        kept = torch.tensor(stable, dtype=torch.long)
        return Candidates(
            boxes=torch.tensor(corners, dtype=torch.long).view(-1, 4) + torch.tensor([x0, y0, x0, y0]),
            ious=masks.ious[kept].float(),
            points=masks.points[kept] + torch.tensor([x0, y0]),
            stability=torch.tensor(np.array(stability, np.float32)).nan_to_num(0.0),
            crops=torch.tensor([self._crop.box]).expand(len(stable), -1),
            runs=tuple(runs),
        )

    def _is_cut(self, corners: Corners) -> bool:
        """Whether a box lies at an edge of the crop that is none of the picture."""
        height, width = self._picture_size
        near = is_box_near_crop_edge(torch.tensor([corners]), list(self._crop.box), [0, 0, width, height])
        return bool(near[0])


def _stability(areas: Areas) -> np.float32:
    """IoU of one mask within another, NaN of nothing in nothing; as float32, which upstream compares."""
    return np.float32(areas.inner) / np.float32(areas.outer) if areas.outer else np.float32(np.nan)


def _inclusive(box: Box) -> Corners:
    """The box by its first and last row and column; zeros around nothing (`batched_mask_to_box`)."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - 1, y1 - 1) if x1 > x0 else (0, 0, 0, 0)
