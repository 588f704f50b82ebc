"""Masks of what prompts point at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.running.homeward import Later, all_of, joined
from featsvc.engines.sam2.decoder import LowRes, decode
from featsvc.engines.sam2.embedding import Embedding, stacked
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompt_reply import PromptWriter
from featsvc.engines.sam2.prompts import Frame, Prompts, check_places, prompt_tensors, together
from featsvc.engines.sam2.steps import UNCOMPILED
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View, embeddings
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
    key = "picture" if loaded.shares_passes else alone()
    return PreparedPrompts(key, cost, flop, view, tensors, writer, orientation=view.orientation)


def run(
    batch: list[PreparedPrompts], params: PredictMasksParams, loaded: Sam2Model
) -> list[Later[PromptResults]]:
    """Masks of each picture's prompts; a picture is encoded once, whatever the number of its prompts."""
    known = embeddings([item.view for item in batch], loaded)
    pictures = [number for number, item in enumerate(batch) for _ in item.prompts]
    asked = PromptBatch([each for item in batch for each in item.prompts], pictures)
    order: list[int] = []

    def begun() -> Iterator[Later[PromptMasks]]:
        for index, masks in low_res_masks(known, asked, loaded, params.multimask_output):
            order.append(index)
            yield batch[pictures[index]].writer.answer(masks)

    all_begun = all_of(begun())
    answers = dict(zip(order, all_begun, strict=True))
    own: list[list[Later[PromptMasks]]] = [[] for _ in batch]
    for index, number in enumerate(pictures):
        own[number].append(answers[index])
    return [joined(each, item.writer.results) for item, each in zip(batch, own, strict=True)]


class PromptBatch(NamedTuple):
    """Prompts, and the number of the picture that each is about."""

    prompts: list[Prompts]
    pictures: list[int]


def low_res_masks(
    known: Sequence[Embedding], asked: PromptBatch, loaded: Sam2Model, multimask: bool
) -> Iterator[tuple[int, LowRes]]:
    """The number of each prompt with its answer, B = 1, in any order; `known` are the pictures' embeddings."""
    decoder = Decoder(loaded, multimask)
    at_once = PROMPTS_AT_ONCE[loaded.device.type == "cpu"]
    for indices, some in together(asked.prompts, asked.pictures, at_once):
        of = [known[asked.pictures[index]] for index in indices]
        masks = decoder.masks(stacked(of), some.to(loaded.device))
        for row, index in enumerate(indices):
            yield index, masks.at(row)


class Decoder:
    """A network's mask decoder, which asks about an embedding again without computing again what is of it alone."""

    def __init__(self, loaded: Sam2Model, multimask: bool) -> None:
        self._loaded = loaded
        self._multimask = multimask
        self._last: tuple[Embedding, PointDecoder] | None = None

    def masks(self, embedding: Embedding, prompts: Prompts) -> LowRes:
        """Of all prompts, which are about one picture or about one each."""
        if (known := self._replayed(embedding, prompts)) is not None:
            return known
        network, steps = self._loaded.network, self._loaded.steps
        # sam2's own decoder takes float32 alone, and is not compiled.
        if embedding.coarse.dtype is torch.float32 and steps is UNCOMPILED:
            return decode(network, embedding, prompts, self._multimask)
        if self._last is None or self._last[0] is not embedding:
            self._last = embedding, PointDecoder(network, embedding, steps)
        return self._last[1].answers(prompts, self._multimask).masks

    def _replayed(self, embedding: Embedding, prompts: Prompts) -> LowRes | None:
        """The same where there is a graph of it."""
        graphs = self._loaded.prompt.get(self._multimask)
        if graphs is None or prompts.coords is None or prompts.labels is None or prompts.masks is not None:
            return None
        found = graphs.replayed(prompts.coords, prompts.labels, embedding.coarse, *embedding.fine)
        return None if found is None else LowRes(*found)
