"""Candidate masks of one crop: asked for point by point, filtered before anything is brought to full size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import batched_mask_to_box, is_box_near_crop_edge
from torch import Tensor

from featsvc.engines.rle import Counts, run_lengths
from featsvc.engines.sam2_decoder import decode, full_size_of_any
from featsvc.engines.sam2_embedding import Embedding, to_network
from featsvc.engines.sam2_grid import Crop
from featsvc.engines.sam2_prompts import Prompts
from featsvc.engines.sam2_regions import cleaned
from featsvc.v1.schema import GenerateMasksParams

POINTS_AT_ONCE_ON_CPU = 32
"""A CPU is fastest with 8 to 32 (DESIGN section 10), and larger batches could take all of a machine's memory."""
PIXELS_AT_ONCE = 1 << 24
"""Full-size logits that exist at a time."""
REGION_THRESHOLD = 0.0
"""Upstream's generator tells its mask_threshold to nobody, so regions are always those of logits above 0."""


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


@dataclass(frozen=True)
class CropSearch:
    """One crop of a picture under one set of options."""

    network: SAM2Base
    embedding: Embedding
    crop: Crop
    picture_size: tuple[int, int]
    params: GenerateMasksParams

    def candidates(self) -> Candidates:
        """All masks of the crop's points that pass the filters, in upstream's order."""
        points = torch.as_tensor(self.crop.points, dtype=torch.float32, device=self.embedding.coarse.device)
        return joined([self._of(batch) for batch in torch.split(points, self._at_once)])

    @property
    def _at_once(self) -> int:
        """Points that the decoder takes in one pass."""
        on_cpu = self.embedding.coarse.device.type == "cpu"
        return (
            min(self.params.points_per_batch, POINTS_AT_ONCE_ON_CPU)
            if on_cpu
            else self.params.points_per_batch
        )

    def _of(self, points: Tensor) -> Candidates:
        """As SAM2AutomaticMaskGenerator._process_batch, in an order that drops candidates early."""
        answers = self._asked(points, None, self.params.multimask_output)
        masks = self._refined(answers) if self.params.use_m2m else answers[0]
        if self.params.pred_iou_thresh > 0:
            masks = masks.where(masks.ious > self.params.pred_iou_thresh)
        area = self.params.min_mask_region_area
        masks = _Masks(cleaned(masks.logits, area, area, REGION_THRESHOLD), masks.ious, masks.points)
        height, width = self.crop.size
        # One point's alternatives are interpolated together, as upstream does.
        together = 3 if self.params.multimask_output and not self.params.use_m2m else 1
        at_once = max(1, PIXELS_AT_ONCE // (height * width * together)) * together
        count = len(masks.ious)
        parts = [slice(start, min(start + at_once, count)) for start in range(0, max(count, 1), at_once)]
        return joined([self._full(masks.where(torch.arange(count)[part]), together) for part in parts])

    def _asked(self, points: Tensor, prompts: Tensor | None, multimask: bool) -> tuple[_Masks, Tensor]:
        """Masks of foreground points n x 2 with mask prompts n x 1 x h x w, and their next prompts."""
        coords = to_network(points, self.crop.size, self.network.image_size)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        answer = decode(self.network, self.embedding, Prompts(coords, labels, prompts), multimask)
        each = points.repeat_interleave(answer.ious.shape[1], dim=0)
        return _Masks(answer.logits.flatten(0, 1), answer.ious.flatten(0, 1), each), answer.clamped.flatten(
            0, 1
        )

    def _refined(self, answers: tuple[_Masks, Tensor]) -> _Masks:
        """One more step for each mask, with itself as prompt (`refine_with_m2m`)."""
        masks, prompts = answers
        points, shown = torch.split(masks.points, self._at_once), torch.split(prompts[:, None], self._at_once)
        refined = [self._asked(*each, multimask=False)[0] for each in zip(points, shown, strict=True)]
        return _Masks(
            torch.cat([each.logits for each in refined]),
            torch.cat([each.ious for each in refined]),
            masks.points,
        )

    def _full(self, masks: _Masks, together: int) -> Candidates:
        """Stability, boxes and run lengths of a few masks at full size."""
        logits = full_size_of_any(masks.logits, self.crop.size, together) if len(masks.ious) else masks.logits
        stability = _stability(logits, self.params)
        keep = torch.ones_like(stability, dtype=torch.bool)
        if self.params.stability_score_thresh > 0:
            keep = stability >= self.params.stability_score_thresh
        inside = logits[keep] > self.params.mask_threshold
        boxes = batched_mask_to_box(inside).long()
        height, width = self.picture_size
        away = ~is_box_near_crop_edge(boxes, list(self.crop.box), [0, 0, width, height])
        chosen = masks.where(keep).where(away)
        x0, y0, _, _ = self.crop.box
        return Candidates(
            boxes=(boxes[away] + torch.tensor([x0, y0, x0, y0], device=boxes.device)).cpu(),
            ious=chosen.ious.float().cpu(),
            points=(chosen.points + torch.tensor([x0, y0], device=boxes.device)).cpu(),
            stability=stability[keep][away].nan_to_num(0.0).cpu(),
            crops=torch.tensor([self.crop.box]).expand(len(chosen.ious), -1),
            runs=tuple(run_lengths(mask) for mask in self._uncropped(inside[away]).cpu().numpy()),
        )

    def _uncropped(self, masks: Tensor) -> Tensor:
        """Masks of the crop in the frame of the whole picture."""
        (height, width), (x0, y0, x1, y1) = self.picture_size, self.crop.box
        return F.pad(masks, (x0, width - x1, y0, height - y1))


def _stability(logits: Tensor, params: GenerateMasksParams) -> Tensor:
    """IoU of the masks at a higher and a lower threshold (`calculate_stability_score`), n."""
    threshold, offset = params.mask_threshold, params.stability_score_offset
    inner = torch.count_nonzero(logits > threshold + offset, dim=(1, 2))
    outer = torch.count_nonzero(logits > threshold - offset, dim=(1, 2))
    return inner / outer
