"""Masks of prompts in the form of the reply, within its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.answers import mask_encoding, rle
from featsvc.engines.answers.limits import check_json, check_masks, check_reply, float_bytes
from featsvc.engines.answers.mask_encoding import (
    NBYTES,
    Bitmaps,
    Scores,
    in_json,
    label_map,
    nbytes,
    worst_first,
)
from featsvc.engines.running.homeward import Later, when_home
from featsvc.engines.running.steps import step
from featsvc.engines.sam2.decoder import MULTIMASKS, LowRes, full_size
from featsvc.engines.sam2.regions import cleaned
from featsvc.v1.schema import MaskEncoding, PredictMasksParams
from featsvc.work.item import Way
from featsvc.work.options import EngineOptions
from featsvc.work.results import Bits, Floats, HeightWidth, LabelMap, Png, PromptMasks, PromptResults, Rle

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

    size: HeightWidth
    """Height and width of the picture as sent."""
    mask_size: int
    params: PredictMasksParams
    options: EngineOptions
    way: Way

    def check(self, prompts: int) -> None:
        """Raises where the answers to so many prompts would be too large, as far as it can be said beforehand."""
        masks = MULTIMASKS if self.params.multimask_output else 1
        encoding = MaskEncoding.FLOAT32 if self.params.return_logits else self.params.mask_encoding
        beside = float_bytes((masks,))
        if self.params.return_low_res:
            beside += float_bytes((masks, self.mask_size, self.mask_size))
        check_reply(prompts * (beside + self._nbytes(encoding, masks)), self.options, self._remedy, self.way)
        there = in_json(encoding, self.way)
        check_json(prompts * (beside + self._nbytes(there, masks)), self.way, self._remedy)
        check_masks(prompts * masks, self.size, self.options, self._remedy)

    def _nbytes(self, encoding: MaskEncoding, masks: int) -> int:
        """Bytes of so many masks, where they alone say how many."""
        return NBYTES[encoding](masks, *self.size) if encoding in NBYTES else 0

    def answer(self, low_res: LowRes) -> Later[PromptMasks]:
        """The answer to one prompt, B = 1, which begins to come home."""
        step()
        logits = cleaned(
            low_res.logits[0],
            self.params.max_hole_area,
            self.params.max_sprinkle_area,
            self.params.mask_threshold,
        )
        full = full_size(logits[None], self.size)[0]
        pixels = full if self.params.return_logits else full > self.params.mask_threshold
        low = (low_res.clamped[0],) if self.params.return_low_res else ()
        return when_home(self._made, low_res.ious[0].float(), pixels, *low)

    def _made(self, *home: Tensor) -> PromptMasks:
        ious, pixels, *kept = (each.numpy() for each in home)
        masks, labels = self._written(pixels, ious)
        return PromptMasks(
            masks=masks,
            iou_predictions=ious,
            low_res_masks=kept[0] if kept else None,
            label_map=labels,
        )

    def results(self, *answers: PromptMasks) -> PromptResults:
        """The answers together; raises where run lengths or files, whose size nobody knew, make them too large."""
        check_reply(sum(map(_nbytes, answers)), self.options, self._remedy, self.way)
        return PromptResults(answers, *self.size)

    # Any: booleans, or the logits themselves.
    def _written(self, masks: NDArray[Any], ious: Scores) -> tuple[Pixels, LabelMap | None]:
        """Masks K x H x W in their form."""
        if self.params.return_logits:
            return masks, None
        if self.params.mask_encoding is MaskEncoding.LABEL_MAP:
            return None, label_map(worst_first(ious), masks.__getitem__, self.size)
        return PIXELS[self.params.mask_encoding](masks), None

    @property
    def _remedy(self) -> str:
        ways = ["fewer prompts at once", "multimask_output false"]
        if self.params.return_low_res:
            ways.append("return_low_res false")
        if self.params.return_logits:
            ways.append("return_logits false")
        elif in_json(self.params.mask_encoding, self.way) is MaskEncoding.FLOAT32:
            ways.append("mask_encoding bits")
        return f"{', '.join(ways)} make it fit"


def _nbytes(answer: PromptMasks) -> int:
    parts = answer.masks if isinstance(answer.masks, tuple) else (answer.masks,)
    arrays = (answer.label_map, answer.low_res_masks, answer.iou_predictions)
    return sum(map(nbytes, parts)) + sum(each.nbytes for each in arrays if each is not None)
