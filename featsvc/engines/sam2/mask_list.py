"""Automatic masks in the form of the reply, within its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from featsvc.codec.rle import Counts
from featsvc.engines.answers import mask_encoding, rle
from featsvc.engines.answers.limits import check_json, check_masks, check_reply
from featsvc.engines.answers.mask_encoding import (
    NBYTES,
    check_labels,
    in_json,
    label_map,
    nbytes,
    worst_first,
)
from featsvc.engines.running.steps import step
from featsvc.engines.sam2.candidate_list import Candidates
from featsvc.v1.schema import GenerateMasksParams, MaskEncoding, OutputMode
from featsvc.work.item import Way
from featsvc.work.options import EngineOptions
from featsvc.work.results import Bits, Floats, HeightWidth, LabelMap, Mask, MaskList, Png, Rectangle, Rle

Segmentation = Bits | Floats | Rle | Png | None
Writer = Callable[[Counts, int, int], Segmentation]
REMEDY = "mask_encoding coco_rle makes it fit"
STRICTER = "a higher pred_iou_thresh or stability_score_thresh leaves fewer masks"

RUNS: Mapping[OutputMode, Writer] = {
    OutputMode.UNCOMPRESSED_RLE: rle.uncompressed,
    OutputMode.COCO_RLE: rle.compressed,
}
PIXELS: Mapping[MaskEncoding, Writer] = {
    MaskEncoding.BITS: lambda *mask: mask_encoding.bits(rle.bitmap(*mask)),
    MaskEncoding.FLOAT32: lambda *mask: mask_encoding.floats(rle.bitmap(*mask)),
    MaskEncoding.PNG: lambda *mask: mask_encoding.png(rle.bitmap(*mask)),
    MaskEncoding.COCO_RLE: rle.compressed,
    MaskEncoding.LABEL_MAP: lambda *mask: None,
}


@dataclass(frozen=True)
class MaskWriter:
    """How the masks of one picture are answered."""

    size: HeightWidth
    params: GenerateMasksParams
    options: EngineOptions
    way: Way

    @property
    def _is_labelled(self) -> bool:
        return self.params.output_mode not in RUNS and self.params.mask_encoding is MaskEncoding.LABEL_MAP

    def check_count(self, masks: int) -> None:
        """Refuses more masks than the form of the reply has numbers for."""
        if self._is_labelled:
            check_labels(masks)

    def mask_list(self, candidates: Candidates) -> MaskList:
        """All of them in their order; raises where the reply would be too large."""
        runs = RUNS.get(self.params.output_mode)
        encoding = self.params.mask_encoding
        self.check_count(len(candidates))
        if runs is None and encoding in NBYTES:
            self._check(NBYTES[encoding](len(candidates), *self.size), REMEDY)
            check_json(NBYTES[in_json(encoding, self.way)](len(candidates), *self.size), self.way, REMEDY)
            check_masks(len(candidates), self.size, self.options, REMEDY)
        write = runs or PIXELS[encoding]
        masks = tuple(self._mask(candidates, index, write) for index in range(len(candidates)))
        self._check(sum(nbytes(mask.segmentation) for mask in masks), STRICTER)
        return MaskList(masks, *self.size, self._labels(candidates) if self._is_labelled else None)

    def _check(self, nbytes: int, remedy: str) -> None:
        check_reply(nbytes, self.options, remedy, self.way)

    def _labels(self, candidates: Candidates) -> LabelMap:
        def bitmap(index: int) -> rle.Bitmap:
            step()
            return rle.bitmap(candidates.runs[index], *self.size)

        return label_map(worst_first(candidates.ious.numpy()), bitmap, self.size)

    def _mask(self, candidates: Candidates, index: int, write: Writer) -> Mask:
        step()
        x, y = candidates.points[index].tolist()
        return Mask(
            segmentation=write(candidates.runs[index], *self.size),
            area=rle.area(candidates.runs[index]),
            bbox=_rectangle(candidates.boxes[index]),
            predicted_iou=candidates.ious[index].item(),
            point_coords=((x, y),),
            stability_score=candidates.stability[index].item(),
            crop_box=_rectangle(candidates.crops[index]),
        )


def _rectangle(corners: Tensor) -> Rectangle:
    x0, y0, x1, y1 = corners.float().tolist()
    return x0, y0, x1 - x0, y1 - y0
