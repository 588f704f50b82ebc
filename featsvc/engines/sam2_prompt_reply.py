"""Masks of prompts in the form of the reply, within its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from featsvc.engines import mask_encoding, rle
from featsvc.engines.mask_encoding import NBYTES, Bitmaps, Scores, label_map, nbytes, worst_first
from featsvc.engines.options import EngineOptions
from featsvc.engines.reply_size import check_masks, check_reply, float_bytes
from featsvc.engines.results import Bits, Floats, LabelMap, Png, PromptMasks, Rle
from featsvc.engines.sam2_decoder import LowRes, full_size
from featsvc.engines.sam2_regions import cleaned
from featsvc.v1.schema import MaskEncoding, PredictMasksParams

MULTIMASKS = 3
Pixels = Bits | Floats | tuple[Rle, ...] | tuple[Png, ...] | None


def _texts(masks: Bitmaps) -> tuple[Rle, ...]:
    height, width = masks.shape[1:]
    return tuple(rle.compressed(rle.run_lengths(mask), height, width) for mask in masks)


PIXELS: Mapping[MaskEncoding, Callable[[Bitmaps], Pixels]] = {
    MaskEncoding.BITS: mask_encoding.bits,
    MaskEncoding.FLOAT32: mask_encoding.floats,
    MaskEncoding.COCO_RLE: _texts,
    MaskEncoding.PNG: lambda masks: tuple(mask_encoding.png(mask) for mask in masks),
    MaskEncoding.LABEL_MAP: lambda masks: None,
}


@dataclass(frozen=True)
class PromptWriter:
    """How the prompts about one picture are answered."""

    size: tuple[int, int]
    """Height and width of the picture as sent."""
    mask_size: int
    params: PredictMasksParams
    options: EngineOptions
    chunked: bool

    def check(self, prompts: int) -> None:
        """Raises where the answers to so many prompts would be too large, as far as it can be said beforehand."""
        masks = MULTIMASKS if self.params.multimask_output else 1
        encoding = MaskEncoding.FLOAT32 if self.params.return_logits else self.params.mask_encoding
        needed = float_bytes((masks,))
        if encoding in NBYTES:
            needed += NBYTES[encoding](masks, *self.size)
        if self.params.return_low_res:
            needed += float_bytes((masks, self.mask_size, self.mask_size))
        check_reply(prompts * needed, self.options, self._remedy, self.chunked)
        check_masks(prompts * masks, self.size, self.options, self._remedy)

    def answer(self, found: LowRes) -> PromptMasks:
        """The answer to one prompt, B = 1."""
        logits = cleaned(
            found.logits[0],
            self.params.max_hole_area,
            self.params.max_sprinkle_area,
            self.params.mask_threshold,
        )
        ious = found.ious[0].float().cpu().numpy()
        masks, labels = self._written(full_size(logits[None], self.size)[0], ious)
        return PromptMasks(
            masks=masks,
            iou_predictions=ious,
            low_res_masks=found.clamped[0].cpu().numpy() if self.params.return_low_res else None,
            height=self.size[0],
            width=self.size[1],
            label_map=labels,
        )

    def checked(self, answers: tuple[PromptMasks, ...]) -> tuple[PromptMasks, ...]:
        """The same; raises where run lengths or files, whose size nobody knew before, make them too large."""
        check_reply(sum(map(_nbytes, answers)), self.options, self._remedy, self.chunked)
        return answers

    def _written(self, logits: Tensor, ious: Scores) -> tuple[Pixels, LabelMap | None]:
        if self.params.return_logits:
            return logits.cpu().numpy(), None
        masks = (logits > self.params.mask_threshold).cpu().numpy()
        if self.params.mask_encoding is MaskEncoding.LABEL_MAP:
            return None, label_map(((index, masks[index]) for index in worst_first(ious)), self.size)
        return PIXELS[self.params.mask_encoding](masks), None

    @property
    def _remedy(self) -> str:
        ways = ["fewer prompts at once", "multimask_output false"]
        if self.params.return_low_res:
            ways.append("return_low_res false")
        if self.params.return_logits:
            ways.append("return_logits false")
        elif self.params.mask_encoding is MaskEncoding.FLOAT32:
            ways.append("mask_encoding bits")
        return f"{', '.join(ways)} make it fit"


def _nbytes(answer: PromptMasks) -> int:
    parts = answer.masks if isinstance(answer.masks, tuple) else (answer.masks,)
    arrays = (answer.label_map, answer.low_res_masks, answer.iou_predictions)
    return sum(map(nbytes, parts)) + sum(each.nbytes for each in arrays if each is not None)
