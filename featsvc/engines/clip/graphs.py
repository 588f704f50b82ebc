"""CLIP's usual passes, captured: few pictures for their embeddings, and few short texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from featsvc.engines.clip.dense import image_embeddings
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.text import text_features, usual_lengths
from featsvc.engines.networks.graphs import Graphed, Tensors

COUNTS = (4, 2, 1)
"""Pictures or texts of a pass: with more its arithmetic takes longer than starting it."""
EXAMPLE = "a photo"


def with_graphs(loaded: ClipModel) -> ClipModel:
    """The model with those of its passes that can be captured."""
    key = loaded.entry.key
    pictures = Graphed(lambda pixels: (image_embeddings(loaded.visual, pixels),), f"{key}'s pictures")
    pictures.capture(_pictures(loaded))
    texts = Graphed(lambda tokens: (text_features(loaded.network, tokens),), f"{key}'s texts")
    texts.capture(_texts(loaded))
    nbytes = pictures.nbytes + texts.nbytes
    return replace(loaded, embed_pictures=pictures, embed_texts=texts, graph_bytes=nbytes)


def _pictures(loaded: ClipModel) -> Iterator[Tensors]:
    for count in COUNTS:
        yield (torch.zeros(count, 3, *loaded.visual.image_size, device=loaded.device),)


def _texts(loaded: ClipModel) -> Iterator[Tensors]:
    tokens = loaded.tokenizer([EXAMPLE] * max(COUNTS)).to(loaded.device)
    for length in usual_lengths(loaded.network, tokens.shape[1]):
        for count in COUNTS:
            yield (tokens[:count, :length],)
