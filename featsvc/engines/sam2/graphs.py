"""SAM2's usual passes, captured: its encoder for one picture, and its mask decoder for one click or box about one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from featsvc.engines.networks.graphs import Graphed, Tensors
from featsvc.engines.sam2.decoder import LowRes, decode
from featsvc.engines.sam2.embedding import Embedding, levels
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import PointDecoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.engines.sam2.steps import UNCOMPILED

POINTS = (3, 2, 1)
"""Of a prompt: a box with a point, a box or two points, a click."""


def takes_sam2s_own(embedding: Embedding, loaded: Sam2Model) -> bool:
    """Whether prompts are put to the package's own decoder: it takes float32 alone, and is not compiled."""
    return embedding.coarse.dtype is torch.float32 and loaded.steps is UNCOMPILED


def with_graphs(loaded: Sam2Model) -> Sam2Model:
    """The model with those of its passes that can be captured."""
    side = loaded.image_size
    pixels = torch.zeros(1, 3, side, side, device=loaded.device)
    encode = Graphed(lambda pixels: levels(loaded.network, pixels), f"{loaded.entry.key}'s encoder")
    encode.capture([(pixels,)])
    embedding = levels(loaded.network, pixels)
    prompt: dict[bool, Graphed] = {}
    for multimask in (True, False):
        prompt[multimask] = _prompt(loaded, multimask)
        prompt[multimask].capture(_examples(loaded, embedding))
    return replace(loaded, encode=encode, prompt=prompt)


def _prompt(loaded: Sam2Model, multimask: bool) -> Graphed:
    def act(coords: Tensor, labels: Tensor, coarse: Tensor, *fine: Tensor) -> Tensors:
        # Its size is not asked for.
        masks = _masks(loaded, Embedding(coarse, fine, 0, 0), Prompts(coords, labels, None), multimask)
        return masks.logits, masks.ious

    return Graphed(act, f"{loaded.entry.key}'s decoder")


def _masks(loaded: Sam2Model, embedding: Embedding, prompts: Prompts, multimask: bool) -> LowRes:
    if takes_sam2s_own(embedding, loaded):
        return decode(loaded.network, embedding, prompts, multimask)
    return PointDecoder(loaded.network, embedding, loaded.steps).answers(prompts, multimask).masks


def _examples(loaded: Sam2Model, embedding: Tensors) -> Iterator[Tensors]:
    for points in POINTS:
        coords = torch.zeros(1, points, 2, device=loaded.device)
        labels = torch.ones(1, points, dtype=torch.int32, device=loaded.device)
        yield coords, labels, *embedding
