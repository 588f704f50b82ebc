"""Masks of what prompts point at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featsvc.engines.family import Prepared, alone
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import PromptMasks, Result
from featsvc.engines.sam2_decoder import decode
from featsvc.engines.sam2_model import Sam2Model
from featsvc.engines.sam2_points import PointDecoder
from featsvc.engines.sam2_prompt_reply import PromptWriter
from featsvc.engines.sam2_prompts import Frame, Prompts, prompt_tensors, together
from featsvc.engines.sam2_steps import PLAIN
from featsvc.engines.sam2_view import EmbeddingCache, Subject, View
from featsvc.v1.schema import PredictMasksParams, Prompt

PROMPTS_AT_ONCE = {True: 8, False: 64}
"""Prompts in one pass of the decoder, on a CPU and on a GPU: a CPU gains nothing beyond a few (DESIGN section 10)."""


@dataclass(frozen=True)
class PreparedPrompts(Prepared):
    """A picture for the encoder, and prompts about it."""

    view: View
    prompts: tuple[Prompts, ...]
    writer: PromptWriter


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
    writer = PromptWriter(view.size, loaded.mask_size, params, options, item.chunked)
    writer.check(len(prompts))
    frame = Frame(*view.size, params.normalize_coords, loaded.image_size, loaded.mask_size)
    placed = tuple(prompt_tensors(each, frame, f"prompts[{number}]") for number, each in enumerate(prompts))
    return PreparedPrompts(alone(), loaded.image_size**2, view, placed, writer)


def run(batch: list[PreparedPrompts], params: PredictMasksParams, loaded: Sam2Model) -> list[Result]:
    """Masks of each picture's prompts; a picture is encoded once, whatever the number of its prompts."""
    return [_masks(item, params, loaded) for item in batch]


def _masks(item: PreparedPrompts, params: PredictMasksParams, loaded: Sam2Model) -> tuple[PromptMasks, ...]:
    embedding = item.view.embedding(loaded)
    # sam2's own decoder takes float32 alone, and is not compiled.
    own = embedding.coarse.dtype is torch.float32 and loaded.steps is PLAIN
    decoder = None if own else PointDecoder(loaded.network, embedding, loaded.steps)
    answers: dict[int, PromptMasks] = {}
    for places, prompts in together(item.prompts, PROMPTS_AT_ONCE[loaded.device.type == "cpu"]):
        placed = prompts.to(loaded.device)
        found = (
            decoder.answers(placed, params.multimask_output).masks
            if decoder
            else decode(loaded.network, embedding, placed, params.multimask_output)
        )
        for index, place in enumerate(places):
            answers[place] = item.writer.answer(found.at(index))
    return item.writer.checked(tuple(answers[place] for place in range(len(answers))))
