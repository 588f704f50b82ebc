"""Candidate masks of one crop: decoded point by point, filtered before anything is brought to full size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sam2.utils.amg import is_box_near_crop_edge
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Box
from featsvc.engines.running.gpu import usable_bytes
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device
from featsvc.engines.sam2.candidate_list import Candidates, joined
from featsvc.engines.sam2.decoder import LOGIT_LIMIT
from featsvc.engines.sam2.embedding import to_network
from featsvc.engines.sam2.grid import Crop
from featsvc.engines.sam2.measure import Areas, DeviceMask, FullSize, boxed
from featsvc.engines.sam2.passes import WHOLE_BATCHES, BatchSlice, Pass, Passes
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.engines.sam2.regions import cleaned
from featsvc.errors import OutOfMemory, is_out_of_memory
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

MOST_REFINED = 256
"""Points whose masks wait for their refinement: 200 MB of 256 x 256 logits."""
MOST_WAITING = 1024
"""Masks of a crop whose pixels stay in a GPU's memory until it is known which are left: 256 MB of their logits."""
REGION_THRESHOLD = 0.0
"""Upstream's generator tells its mask_threshold to nobody, so regions are always those of logits above 0."""
Corners = tuple[int, int, int, int]
NO_RUNS: Counts = np.array([], np.int64)


@dataclass(frozen=True)
class _Masks:
    """Low-resolution masks with what is known of them: n x h x w, n, n x 2. Points are in the host's memory."""

    logits: Tensor
    ious: Tensor
    points: Tensor

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


class _Stable(NamedTuple):
    """A mask that is stable and whole, and its place among those that were measured."""

    place: int
    iou: float
    stability: np.float32
    corners: Corners
    mask: Counts | DeviceMask


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
        self._waiting = 0
        """Masks that are in the device's memory alone."""

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
        # What only a GPU knows comes home later, with what it measures.
        if params.pred_iou_thresh > 0 and masks.ious.device.type == "cpu":
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
        is_here = masks.logits.device.type == "cpu"
        stable = self._seen(masks) if is_here else self._counted(masks)
        x0, y0, _, _ = self._crop.box
        kept = torch.tensor([each.place for each in stable], dtype=torch.long)
        corners = torch.tensor([each.corners for each in stable], dtype=torch.long)
        stability = np.array([each.stability for each in stable], np.float32)
        found = Candidates(
            boxes=corners.view(-1, 4) + torch.tensor([x0, y0, x0, y0]),
            ious=torch.tensor([each.iou for each in stable], dtype=torch.float32),
            points=masks.points[kept] + torch.tensor([x0, y0]),
            stability=torch.tensor(stability).nan_to_num(0.0),
            crops=torch.tensor([self._crop.box]).expand(len(stable), -1),
            masks=tuple(each.mask for each in stable),
        )
        if is_here:
            return found
        self._waiting += len(stable)
        if self._waiting <= MOST_WAITING:
            return found
        self._waiting = 0
        return found.completed(self._picture_size, self._params.mask_threshold)

    def _seen(self, masks: _Masks) -> list[_Stable]:
        """Those that a CPU finds, which looks at one after the other."""
        stable: list[_Stable] = []
        ious = masks.ious.tolist()
        for index, sized in enumerate(self._full_size.of(masks.logits)):
            step()
            score = _stability(sized.areas)
            if self._is_unstable(score):
                continue
            mask = boxed(sized.bitmap())
            box = _inclusive(mask.box)
            if not self._are_cut([box])[0]:
                stable.append(_Stable(index, ious[index], score, box, self._full_size.runs(mask)))
        return stable

    def _counted(self, masks: _Masks) -> list[_Stable]:
        """Those of which a GPU tells areas and boxes; their pixels stay there until few are left."""
        if not len(masks.logits):
            return []
        step()
        known, facts = self._full_size.facts(masks.logits, masks.ious)
        ious, least = known.tolist(), self._params.pred_iou_thresh
        boxes = [_inclusive(each.box) for each in facts]
        are_cut = self._are_cut(boxes)
        stable = list[_Stable]()
        for index, (iou, fact, box) in enumerate(zip(ious, facts, boxes, strict=True)):
            score = _stability(fact.areas)
            if not (are_cut[index] or self._is_unstable(score) or 0 < least >= iou):
                stable.append(_Stable(index, iou, score, box, NO_RUNS))
        if not stable:
            return []
        kept = torch.tensor([each.place for each in stable])
        logits = masks.logits[on_device(kept, masks.logits.device)]
        return [
            each._replace(mask=DeviceMask(own, self._crop, _sized(facts[each.place].box)))
            for each, own in zip(stable, logits, strict=True)
        ]

    def _is_unstable(self, score: np.float32) -> bool:
        least = self._params.stability_score_thresh
        return least > 0 and not score >= least

    def _are_cut(self, corners: list[Corners]) -> list[bool]:
        """Which of the boxes lie at an edge of the crop that is none of the picture."""
        height, width = self._picture_size
        boxes = torch.tensor(corners).view(-1, 4)
        near: list[bool] = is_box_near_crop_edge(boxes, list(self._crop.box), [0, 0, width, height]).tolist()
        return near


def _stability(areas: Areas) -> np.float32:
    """IoU of one mask within another, NaN of nothing in nothing; as float32, which upstream compares."""
    return np.float32(areas.inner) / np.float32(areas.outer) if areas.outer else np.float32(np.nan)


def _sized(box: Box) -> Box:
    """The box, of no size around nothing."""
    return box if box[2] > box[0] else (0, 0, 0, 0)


def _inclusive(box: Box) -> Corners:
    """The box by its first and last row and column; zeros around nothing (`batched_mask_to_box`)."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - 1, y1 - 1) if x1 > x0 else (0, 0, 0, 0)
