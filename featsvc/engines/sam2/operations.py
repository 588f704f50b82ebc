"""The SAM2 operations: masks of everything, masks of what prompts point at, and encoding ahead of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from featsvc.catalog import Sam2Entry
from featsvc.engines.networks.compiled import is_slow_at_first, warmed
from featsvc.engines.networks.graphs import Graphed, Tensors, has_graphs
from featsvc.engines.running.family import Computation, FamilyEngines
from featsvc.engines.sam2 import embed as sam2_embed
from featsvc.engines.sam2 import generate as sam2_generate
from featsvc.engines.sam2 import model as sam2_model
from featsvc.engines.sam2 import predict as sam2_predict
from featsvc.engines.sam2.embedding import Embedding, encoded, levels
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.points import Answers, PointDecoder
from featsvc.engines.sam2.predict import Decoder
from featsvc.engines.sam2.prompts import Prompts
from featsvc.engines.sam2.view import EmbeddingCache
from featsvc.work.operations import EMBED_IMAGE, GENERATE_MASKS, PREDICT_MASKS
from featsvc.work.options import EngineOptions

ASKED_TOGETHER = 5
"""Unlike every other size there is, which a compiler would take for the same."""
CAPTURED = (3, 2, 1)
"""Points of prompts whose pass is captured: a box with a point, a box or two points, a click."""


def load(entry: Sam2Entry, options: EngineOptions) -> Sam2Model:
    """The model, warm, and compiled if that is asked for."""
    loaded = sam2_model.load(entry, options)
    if is_slow_at_first(options):
        warmed(entry.key, _passes(loaded), options)
    if has_graphs(options):
        with torch.inference_mode():
            return with_graphs(loaded)
    return loaded


def _passes(loaded: Sam2Model) -> Iterator[Callable[[], Answers]]:
    """Encodes a grey picture, and asks about one and about several points of it, without and with masks."""
    side = loaded.image_size
    embedding = encoded(loaded.network, torch.zeros(3, side, side, device=loaded.device), (side, side))
    decoder = PointDecoder(loaded.network, embedding, loaded.steps)
    for points, shown in product((ASKED_TOGETHER, 1), (False, True)):
        coords, labels = torch.zeros(points, 1, 2), torch.ones(points, 1, dtype=torch.int32)
        masks = torch.zeros(points, 1, loaded.mask_size, loaded.mask_size) if shown else None
        yield partial(decoder.answers, Prompts(coords, labels, masks).to(loaded.device), multimask=True)


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
    nbytes = sum(each.nbytes for each in (encode, *prompt.values()))
    return replace(loaded, encode=encode, prompt=prompt, graph_bytes=nbytes)


def _prompt(loaded: Sam2Model, multimask: bool) -> Graphed:
    def act(coords: Tensor, labels: Tensor, coarse: Tensor, *fine: Tensor) -> Tensors:
        # Its size is not asked for.
        embedding, prompts = Embedding(coarse, fine, 0, 0), Prompts(coords, labels, None)
        masks = Decoder(loaded, multimask).masks(embedding, prompts)
        return masks.logits, masks.ious

    return Graphed(act, f"{loaded.entry.key}'s decoder")


def _examples(loaded: Sam2Model, embedding: Tensors) -> Iterator[Tensors]:
    for points in CAPTURED:
        coords = torch.zeros(1, points, 2, device=loaded.device)
        labels = torch.ones(1, points, dtype=torch.int32, device=loaded.device)
        yield coords, labels, *embedding


def family(embeddings: EmbeddingCache) -> FamilyEngines:
    """The operations, all over one cache of embeddings."""
    return FamilyEngines(
        load,
        (
            Computation(GENERATE_MASKS, partial(sam2_generate.prepare, embeddings), sam2_generate.run),
            Computation(PREDICT_MASKS, partial(sam2_predict.prepare, embeddings), sam2_predict.run),
            Computation(EMBED_IMAGE, partial(sam2_embed.prepare, embeddings), sam2_embed.run),
        ),
    )
