"""Automatic masks in the form of the reply, within its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from featsvc.engines import mask_encoding, rle
from featsvc.engines.mask_encoding import NBYTES, label_map, nbytes, worst_first
from featsvc.engines.options import EngineOptions
from featsvc.engines.reply_size import check_masks, check_reply
from featsvc.engines.results import Bits, Floats, LabelMap, Mask, MaskList, Png, Rectangle, Rle
from featsvc.engines.sam2_candidates import Candidates
from featsvc.v1.schema import GenerateMasksParams, MaskEncoding, OutputMode

Segmentation = Bits | Floats | Rle | Png | None
Writer = Callable[[rle.Counts, int, int], Segmentation]
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

    size: tuple[int, int]
    params: GenerateMasksParams
    options: EngineOptions
    chunked: bool

    def mask_list(self, found: Candidates) -> MaskList:
        """All of them in their order; raises where the reply would be too large."""
        runs = RUNS.get(self.params.output_mode)
        encoding = self.params.mask_encoding
        if runs is None and encoding in NBYTES:
            self._check(NBYTES[encoding](len(found), *self.size), REMEDY)
            check_masks(len(found), self.size, self.options, REMEDY)
        write = runs or PIXELS[encoding]
        masks = tuple(self._mask(found, index, write) for index in range(len(found)))
        self._check(sum(nbytes(mask.segmentation) for mask in masks), STRICTER)
        labelled = runs is None and encoding is MaskEncoding.LABEL_MAP
        return MaskList(masks, *self.size, self._labels(found) if labelled else None)

    def _check(self, nbytes: int, remedy: str) -> None:
        check_reply(nbytes, self.options, remedy, self.chunked)

    def _labels(self, found: Candidates) -> LabelMap:
        order = worst_first(found.ious.numpy())
        return label_map(((index, rle.bitmap(found.runs[index], *self.size)) for index in order), self.size)

    def _mask(self, found: Candidates, index: int, write: Writer) -> Mask:
        x, y = found.points[index].tolist()
        return Mask(
            segmentation=write(found.runs[index], *self.size),
            area=rle.area(found.runs[index]),
            bbox=_rectangle(found.boxes[index]),
            predicted_iou=found.ious[index].item(),
            point_coords=((x, y),),
            stability_score=found.stability[index].item(),
            crop_box=_rectangle(found.crops[index]),
        )


def _rectangle(corners: Tensor) -> Rectangle:
    x0, y0, x1, y1 = corners.float().tolist()
    return x0, y0, x1 - x0, y1 - y0
