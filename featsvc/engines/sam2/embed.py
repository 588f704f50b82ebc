"""Encodes a picture before the first question about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from featsvc.engines.answers.limits import check_json, check_reply
from featsvc.engines.answers.rounding import ITEM_BYTES, TORCH, array_of, in_order, typed
from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.running.homeward import Later, all_of, when_home
from featsvc.engines.sam2.embedding import Embedding
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View, embeddings
from featsvc.v1.schema import EmbedImageParams
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import EmbeddedImage

REMEDY = "embedding_dtype float16 makes it as small as it can be; without ret_embedding it stays here"


@dataclass(frozen=True)
class PreparedView(Prepared):
    """A picture for the encoder."""

    view: View


def prepare(
    cache: EmbeddingCache,
    item: PictureItem,
    params: EmbedImageParams,
    loaded: Sam2Model,
    options: EngineOptions,
) -> PreparedView:
    """Decodes the picture if need be."""
    if params.ret_embedding:
        nbytes = loaded.embedding_elements * ITEM_BYTES[params.embedding_dtype]
        check_reply(nbytes, options, REMEDY)
        check_json(nbytes, item.way, REMEDY)
    view = RequestPicture(cache, item, loaded, options).whole()
    pixels = loaded.image_size**2
    key = "picture" if loaded.shares_passes else alone()
    return PreparedView(key, pixels, view.flop(loaded), view, orientation=view.orientation)


def run(
    batch: list[PreparedView], params: EmbedImageParams, loaded: Sam2Model
) -> Sequence[EmbeddedImage | Later[EmbeddedImage]]:
    """What each picture takes in the cache, and what it is where that is asked for."""
    views = [item.view for item in batch]
    were_cached = [view.cached() is not None for view in views]
    every = embeddings(views, loaded)
    known = [
        EmbeddedImage(each.nbytes, was_cached, *view.size)
        for view, each, was_cached in zip(views, every, were_cached, strict=True)
    ]
    if not params.ret_embedding:
        return known
    return all_of(_with_itself(*each, params) for each in zip(known, every, strict=True))


def _with_itself(
    known: EmbeddedImage, embedding: Embedding, params: EmbedImageParams
) -> Later[EmbeddedImage]:
    """The answer with the embedding, which begins to come home."""
    dtype = TORCH.get(params.embedding_dtype, torch.float32)
    levels = (typed(each.float(), params.embedding_dtype) for each in (embedding.coarse, *embedding.fine))

    def answer(*home: Tensor) -> EmbeddedImage:
        coarse, *fine = (array_of(each, dtype) for each in home)
        return replace(
            known,
            image_embed=coarse,
            high_res_feats_0=fine[0],
            high_res_feats_1=fine[1],
            dtype=params.embedding_dtype,
        )

    return when_home(answer, *map(in_order, levels))
