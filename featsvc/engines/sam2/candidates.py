"""Candidate masks of one crop: decoded point by point, filtered before anything is brought to full size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from sam2.utils.amg import is_box_near_crop_edge
from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers.rle import Box
from featsvc.engines.running.gpu import usable_bytes
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.engines.sam2.candidate_list import Candidates, Gathering
from featsvc.engines.sam2.crop_decoder import CropDecoder, PointMasks, joined_masks
from featsvc.engines.sam2.grid import Crop
from featsvc.engines.sam2.measure import Areas, DeviceMask, FullSize, boxed
from featsvc.engines.sam2.passes import BatchSlice
from featsvc.engines.sam2.regions import Sides, corrected, sides
from featsvc.errors import OutOfMemory, is_out_of_memory
from featsvc.v1.schema import GenerateMasksParams
from featsvc.work.results import HeightWidth

REGION_THRESHOLD = 0.0
"""Upstream's generator tells its mask_threshold to nobody, so regions are always those of logits above 0."""
Corners = tuple[int, int, int, int]
NO_RUNS: Counts = np.array([], np.int64)


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
        self, decoder: CropDecoder, crop: Crop, picture_size: HeightWidth, params: GenerateMasksParams
    ) -> None:
        """The size is the picture's, height and width."""
        self._decoder = decoder
        self._crop = crop
        self._picture_size = picture_size
        self._params = params
        self._full_size = FullSize(crop, picture_size, params)
        self._most_bytes = decoder.passes.kept_bytes(usable_bytes(decoder.device))

    def candidates(self) -> Candidates:
        """All masks of the crop's points that pass the filters, in upstream's order.

        A CPU looks at the masks of each pass by itself. A GPU makes those of all passes that have room, and is waited
        for twice then: for what it predicts of them, and for what it measures.
        """
        found = Gathering(self._picture_size, self._params.mask_threshold, self._most_bytes)
        points = torch.as_tensor(self._crop.points, dtype=torch.float32)
        per_batch = self._decoder.per_batch()
        if self._decoder.device.type == "cpu":
            for own, batch in self._decoder.parts(len(points), per_batch):
                found.add(self._filtered(self._decoder.masks(points[own], batch, per_batch)))
        else:
            for kept in self._kept(points, per_batch):
                for each in self._passing(kept):
                    found.add(each)
        return found.all()

    def _kept(self, points: Tensor, per_batch: int) -> Iterator[list[PointMasks]]:
        """Masks of points on a GPU, as many as have room there; in smaller batches once memory has run out."""
        kept: list[PointMasks] = []
        nbytes, most_bytes = 0, self._most_bytes
        while len(points):
            own, batch = self._decoder.parts(min(len(points), per_batch), per_batch)[0]
            masks = self._attempt(points[own], batch, per_batch, is_last=own.stop == 1 and not kept)
            if masks is not None:
                points = points[own.stop :]
                kept.append(masks)
                nbytes += masks.nbytes
                if nbytes + masks.nbytes <= most_bytes:
                    continue
            elif kept:
                most_bytes = nbytes
            else:
                per_batch = own.stop // 2
            if kept:
                yield kept
            kept, nbytes = [], 0
        if kept:
            yield kept

    def _attempt(self, points: Tensor, batch: BatchSlice, per_batch: int, is_last: bool) -> PointMasks | None:
        """Masks of some points; None where there was no memory for them, unless this is the last attempt."""
        try:
            return self._decoder.masks(points, batch, per_batch)
        except Exception as error:  # each library says it in its own way
            if not is_out_of_memory(error):
                raise
            if is_last:
                raise self._no_memory() from error
            return None

    def _passing(self, parts: list[PointMasks]) -> list[Candidates]:
        """Those of some masks that pass the filters; of fewer at a time where there is no memory for all."""
        try:
            return [self._filtered(joined_masks(parts))]
        except Exception as error:  # as above
            if not is_out_of_memory(error):
                raise
            if len(parts) == 1 and len(parts[0]) == 1:
                raise self._no_memory() from error
        fewer = parts if len(parts) > 1 else list(parts[0].halves)
        middle = len(fewer) // 2
        return [*self._passing(fewer[:middle]), *self._passing(fewer[middle:])]

    def _no_memory(self) -> OutOfMemory:
        return OutOfMemory(
            f"{self._decoder.device} has no memory for the masks of one point at a time, to which "
            "points_per_batch was cut: try a smaller picture, or again later"
        )

    def _filtered(self, masks: PointMasks) -> Candidates:
        """As SAM2AutomaticMaskGenerator._process_batch, in an order that drops candidates early."""
        least, area = self._params.pred_iou_thresh, self._params.min_mask_region_area
        seen = sides(masks.logits, REGION_THRESHOLD) if area > 0 else ()
        ious, *home = on_host(masks.ious, *seen)
        masks = replace(masks, ious=ious)
        if least > 0:
            better = (ious > least).nonzero().flatten()
            masks, home = masks.at(better), [each[better] for each in home]
        if home:
            logits = corrected(masks.logits, Sides(*home), area, area, REGION_THRESHOLD)
            masks = replace(masks, logits=logits)
        return self._measured(masks)

    def _measured(self, masks: PointMasks) -> Candidates:
        """Those that are stable and away from the crop's edges, with what is known of them at full size."""
        stable = self._seen(masks) if masks.logits.device.type == "cpu" else self._counted(masks)
        x0, y0, _, _ = self._crop.box
        kept = torch.tensor([each.place for each in stable], dtype=torch.long)
        corners = torch.tensor([each.corners for each in stable], dtype=torch.long)
        stability = np.array([each.stability for each in stable], np.float32)
        return Candidates(
            boxes=corners.view(-1, 4) + torch.tensor([x0, y0, x0, y0]),
            ious=torch.tensor([each.iou for each in stable], dtype=torch.float32),
            points=masks.points[kept] + torch.tensor([x0, y0]),
            stability=torch.tensor(stability).nan_to_num(0.0),
            outputs=masks.outputs[kept],
            crops=torch.tensor([self._crop.box]).expand(len(stable), -1),
            masks=tuple(each.mask for each in stable),
        )

    def _seen(self, masks: PointMasks) -> list[_Stable]:
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

    def _counted(self, masks: PointMasks) -> list[_Stable]:
        """Those of which a GPU tells areas and boxes; their pixels stay there until few are left."""
        if not len(masks.logits):
            return []
        facts = self._full_size.facts(masks.logits)
        boxes = [_inclusive(each.box) for each in facts]
        are_cut = self._are_cut(boxes)
        stable = list[_Stable]()
        for index, (iou, fact, box) in enumerate(zip(masks.ious.tolist(), facts, boxes, strict=True)):
            score = _stability(fact.areas)
            if not (are_cut[index] or self._is_unstable(score)):
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
