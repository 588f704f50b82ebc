"""Candidate masks of one crop: asked for point by point, filtered before anything is brought to full size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sam2.utils.amg import is_box_near_crop_edge
from torch import Tensor

from featsvc.engines.rle import Box, Counts
from featsvc.engines.sam2_decoder import LOGIT_LIMIT
from featsvc.engines.sam2_embedding import to_network
from featsvc.engines.sam2_grid import Crop
from featsvc.engines.sam2_measure import FullSize
from featsvc.engines.sam2_points import PointDecoder
from featsvc.engines.sam2_prompts import Prompts
from featsvc.engines.sam2_regions import cleaned
from featsvc.v1.schema import GenerateMasksParams

TOGETHER = 8
TOGETHER_WITH_MASKS = 16
"""Prompts in a pass of the decoder on a CPU; more need more memory, which costs more time than it saves. Products of
these many rows, and of these and the rest, have the same last bits as those of the whole batch that was asked for."""
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

    def kept(self, indices: Tensor) -> Candidates:
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
    """Low-resolution masks with what is known of them: n x h x w, n, n x 2."""

    logits: Tensor
    ious: Tensor
    points: Tensor

    def where(self, keep: Tensor) -> _Masks:
        return _Masks(self.logits[keep], self.ious[keep], self.points[keep])


def _all(parts: list[_Masks]) -> _Masks:
    return _Masks(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.ious for part in parts]),
        torch.cat([part.points for part in parts]),
    )


class CropSearch:
    """One crop of a picture under one set of options."""

    def __init__(
        self, decoder: PointDecoder, crop: Crop, picture_size: tuple[int, int], params: GenerateMasksParams
    ) -> None:
        self._decoder = decoder
        self._crop = crop
        self._picture_size = picture_size
        self._params = params
        self._full_size = FullSize(crop, picture_size, params)

    def candidates(self) -> Candidates:
        """All masks of the crop's points that pass the filters, in upstream's order."""
        points = torch.as_tensor(self._crop.points, dtype=torch.float32, device=self._decoder.device)
        if self._params.use_m2m:
            # Upstream refines the masks of a whole batch together, so a batch stays whole until then.
            batches = torch.split(points, min(self._params.points_per_batch, MOST_REFINED))
        else:
            batches = self._passes(points, TOGETHER)
        return joined([self._of(batch) for batch in batches])

    def _passes(self, prompts: Tensor, together: int) -> tuple[Tensor, ...]:
        """Prompts that share a pass of the decoder: `together`, and what is left over with the last of them."""
        batches = torch.split(prompts, self._params.points_per_batch)
        if self._decoder.device.type != "cpu":
            return batches
        return tuple(part for batch in batches for part in batch.tensor_split(_cuts(len(batch), together)))

    def _of(self, points: Tensor) -> Candidates:
        """As SAM2AutomaticMaskGenerator._process_batch, in an order that drops candidates early."""
        params = self._params
        if params.use_m2m:
            passes = self._passes(points, TOGETHER)
            first = [self._asked(each, None, params.multimask_output, 0.0) for each in passes]
            masks = self._refined(_all(first))
        else:
            masks = self._asked(points, None, params.multimask_output, params.pred_iou_thresh)
        if params.pred_iou_thresh > 0:
            masks = masks.where(masks.ious > params.pred_iou_thresh)
        area = params.min_mask_region_area
        return self._measured(
            _Masks(cleaned(masks.logits, area, area, REGION_THRESHOLD), masks.ious, masks.points)
        )

    def _asked(self, points: Tensor, prompts: Tensor | None, multimask: bool, least_iou: float) -> _Masks:
        """Masks of foreground points n x 2 with mask prompts n x 1 x h x w, but of points that have no good one."""
        coords = to_network(points, self._crop.size, self._decoder.image_size)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        answers = self._decoder.answers(Prompts(coords, labels, prompts), multimask, least_iou)
        ious = answers.masks.ious
        each = points[answers.places].repeat_interleave(ious.shape[1], dim=0)
        return _Masks(answers.masks.logits.flatten(0, 1), ious.flatten(0, 1), each)

    def _refined(self, masks: _Masks) -> _Masks:
        """One more step for each mask, with itself as prompt (`refine_with_m2m`)."""
        shown = masks.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)[:, None]
        least = self._params.pred_iou_thresh
        points, prompts = (self._passes(part, TOGETHER_WITH_MASKS) for part in (masks.points, shown))
        refined = [
            self._asked(*each, multimask=False, least_iou=least) for each in zip(points, prompts, strict=True)
        ]
        return _all(refined)

    def _measured(self, masks: _Masks) -> Candidates:
        """Those that are stable and away from the crop's edges, with what is known of them at full size."""
        least = self._params.stability_score_thresh
        kept: list[int] = []
        stability: list[np.float32] = []
        corners: list[Corners] = []
        runs: list[Counts] = []
        for index, logits in enumerate(self._full_size.of(masks.logits)):
            score = _ratio(*self._full_size.areas(logits))
            if least > 0 and not score >= least:
                continue
            inside, box = self._full_size.pixels(logits)
            if self._is_cut(_inclusive(box)):
                continue
            kept.append(index)
            stability.append(score)
            corners.append(_inclusive(box))
            runs.append(self._full_size.runs(inside, box))
        x0, y0, _, _ = self._crop.box
        chosen = masks.where(torch.tensor(kept, dtype=torch.long, device=masks.ious.device))
        return Candidates(
            boxes=torch.tensor(corners, dtype=torch.long).view(-1, 4) + torch.tensor([x0, y0, x0, y0]),
            ious=chosen.ious.float().cpu(),
            points=chosen.points.cpu() + torch.tensor([x0, y0]),
            stability=torch.tensor(np.array(stability, np.float32)).nan_to_num(0.0),
            crops=torch.tensor([self._crop.box]).expand(len(kept), -1),
            runs=tuple(runs),
        )

    def _is_cut(self, corners: Corners) -> bool:
        """Whether a box lies at an edge of the crop that is none of the picture."""
        height, width = self._picture_size
        near = is_box_near_crop_edge(torch.tensor([corners]), list(self._crop.box), [0, 0, width, height])
        return bool(near[0])


def _cuts(count: int, together: int) -> list[int]:
    """Where to cut so many prompts; fewer than `together` are never by themselves."""
    return list(range(together, count - together + 1, together))


def _ratio(inner: int, outer: int) -> np.float32:
    """IoU of one mask within another, NaN of nothing in nothing; as float32, which upstream compares."""
    return np.float32(inner) / np.float32(outer) if outer else np.float32(np.nan)


def _inclusive(box: Box) -> Corners:
    """The box by its first and last row and column; zeros around nothing (`batched_mask_to_box`)."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - 1, y1 - 1) if x1 > x0 else (0, 0, 0, 0)
