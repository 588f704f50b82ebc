"""Masks of what prompts point at."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.engines.family import Prepared, alone
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.reply_size import bitmap_bytes, check_masks, check_reply, float_bytes
from featsvc.engines.results import PromptMasks, Result
from featsvc.engines.sam2_decoder import LowRes, decode, full_size
from featsvc.engines.sam2_model import Sam2Model
from featsvc.engines.sam2_prompts import Frame, Prompts, prompt_tensors
from featsvc.engines.sam2_regions import cleaned
from featsvc.engines.sam2_view import EmbeddingCache, Subject, View
from featsvc.v1.schema import PredictMasksParams, Prompt

MULTIMASKS = 3


@dataclass(frozen=True)
class PreparedPrompts(Prepared):
    """A picture for the encoder, and prompts about it."""

    view: View
    prompts: tuple[Prompts, ...]


def prepare(
    cache: EmbeddingCache,
    item: Item,
    params: PredictMasksParams,
    loaded: Sam2Model,
    options: EngineOptions,
) -> PreparedPrompts:
    """Decodes the picture if need be, checks and places the prompts; no prompts at all is one empty prompt."""
    view = Subject(cache, item, loaded, options).whole()
    prompts = item.prompts or (Prompt(),)
    _check_reply(len(prompts), view.size, params, loaded, options)
    frame = Frame(*view.size, params.normalize_coords, loaded.image_size, loaded.mask_size)
    placed = tuple(prompt_tensors(each, frame, f"prompts[{number}]") for number, each in enumerate(prompts))
    return PreparedPrompts(alone(), loaded.image_size**2, view, placed)


def _check_reply(
    count: int, size: tuple[int, int], params: PredictMasksParams, loaded: Sam2Model, options: EngineOptions
) -> None:
    masks = count * (MULTIMASKS if params.multimask_output else 1)
    full = float_bytes((masks, *size)) if params.return_logits else bitmap_bytes(masks, *size)
    low = float_bytes((masks, loaded.mask_size, loaded.mask_size)) + float_bytes((masks,))
    ways = ("fewer prompts at once", "multimask_output false", "return_logits false")
    remedy = f"{', '.join(ways[: 3 if params.return_logits else 2])} make it fit"
    check_reply(full + low, options, remedy)
    check_masks(masks, size, options, remedy)


def run(batch: list[PreparedPrompts], params: PredictMasksParams, loaded: Sam2Model) -> list[Result]:
    """Masks of each picture's prompts; a picture is encoded once, whatever the number of its prompts."""
    return [_masks(item, params, loaded) for item in batch]


def _masks(item: PreparedPrompts, params: PredictMasksParams, loaded: Sam2Model) -> tuple[PromptMasks, ...]:
    embedding = item.view.embedding(loaded)
    answers = (
        decode(loaded.network, embedding, prompts.to(loaded.device), params.multimask_output)
        for prompts in item.prompts
    )
    return tuple(_answer(answer, item.view.size, params) for answer in answers)


def _answer(answer: LowRes, size: tuple[int, int], params: PredictMasksParams) -> PromptMasks:
    logits = cleaned(answer.logits[0], params.max_hole_area, params.max_sprinkle_area, params.mask_threshold)
    masks = full_size(logits[None], size)[0]
    if not params.return_logits:
        masks = masks > params.mask_threshold
    return PromptMasks(
        masks=masks.cpu().numpy(),
        iou_predictions=answer.ious[0].float().cpu().numpy(),
        low_res_masks=answer.clamped[0].cpu().numpy(),
        height=size[0],
        width=size[1],
    )
