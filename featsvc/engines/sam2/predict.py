"""Masks of what prompts point at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.sam2.decoder import decode
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompt_reply import PromptWriter
from featsvc.engines.sam2.prompts import Frame, Prompts, check_places, prompt_tensors, together
from featsvc.engines.sam2.steps import UNCOMPILED
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View
from featsvc.v1.schema import PredictMasksParams, Prompt
from featsvc.work.item import PromptItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import PromptMasks, PromptResults

PROMPTS_AT_ONCE = {True: 8, False: 64}
"""Prompts in one pass of the decoder, on a CPU and on a GPU: a CPU gains nothing beyond a few."""


@dataclass(frozen=True)
class PreparedPrompts(Prepared):
    """A picture for the encoder, and prompts about it."""

    view: View
    prompts: tuple[Prompts, ...]
    writer: PromptWriter


def prepare(
    cache: EmbeddingCache,
    item: PromptItem,
    params: PredictMasksParams,
    loaded: Sam2Model,
    options: EngineOptions,
) -> PreparedPrompts:
    """Decodes the picture if need be, checks and places the prompts; no prompts at all is one empty prompt."""
    view = RequestPicture(cache, item, loaded, options).whole()
    prompts = item.prompts or (Prompt(),)
    writer = PromptWriter(view.size, loaded.mask_size, params, options, item.way)
    writer.check(len(prompts))
    frame = Frame(*view.size, params.normalize_coords, loaded.image_size, loaded.mask_size)
    check_places(prompts, frame)
    tensors = tuple(prompt_tensors(each, frame, f"prompts[{number}]") for number, each in enumerate(prompts))
    cost, flop = loaded.image_size**2, view.flop(loaded) + len(tensors) * loaded.prompt_flop
    return PreparedPrompts(alone(), cost, flop, view, tensors, writer, orientation=view.orientation)


def run(batch: list[PreparedPrompts], params: PredictMasksParams, loaded: Sam2Model) -> list[PromptResults]:
    """Masks of each picture's prompts; a picture is encoded once, whatever the number of its prompts."""
    return [_masks(item, params, loaded) for item in batch]


def _masks(item: PreparedPrompts, params: PredictMasksParams, loaded: Sam2Model) -> PromptResults:
    embedding = item.view.embedding(loaded)
    # sam2's own decoder takes float32 alone, and is not compiled.
    own = embedding.coarse.dtype is torch.float32 and loaded.steps is UNCOMPILED
    decoder = None if own else PointDecoder(loaded.network, embedding, loaded.steps)
    answers: dict[int, PromptMasks] = {}
    for indices, prompts in together(item.prompts, PROMPTS_AT_ONCE[loaded.device.type == "cpu"]):
        prompts = prompts.to(loaded.device)
        masks = (
            decoder.answers(prompts, params.multimask_output).masks
            if decoder
            else decode(loaded.network, embedding, prompts, params.multimask_output)
        )
        for row, index in enumerate(indices):
            answers[index] = item.writer.answer(masks.at(row))
    return item.writer.results(tuple(answers[index] for index in range(len(answers))))
