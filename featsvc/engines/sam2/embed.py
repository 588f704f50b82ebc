"""Encodes a picture before the first question about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from featsvc.engines.answers.limits import check_json, check_reply
from featsvc.engines.answers.rounding import ITEM_BYTES, typed
from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.sam2.embedding import Embedding
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View, embeddings
from featsvc.v1.schema import EmbedImageParams
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import EmbeddedImage, HeightWidth

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


def run(batch: list[PreparedView], params: EmbedImageParams, loaded: Sam2Model) -> list[EmbeddedImage]:
    """What each picture takes in the cache, and what it is where that is asked for."""
    views = [item.view for item in batch]
    were_cached = [view.cached() is not None for view in views]
    return [
        _answer(each, was_cached, view.size, params)
        for view, each, was_cached in zip(views, embeddings(views, loaded), were_cached, strict=True)
    ]


def _answer(
    embedding: Embedding, was_cached: bool, size: HeightWidth, params: EmbedImageParams
) -> EmbeddedImage:
    known = EmbeddedImage(embedding.nbytes, was_cached, *size)
    if not params.ret_embedding:
        return known
    levels = (embedding.coarse, *embedding.fine)
    coarse, *fine = (typed(each.float(), params.embedding_dtype) for each in levels)
    return replace(
        known,
        image_embed=coarse,
        high_res_feats_0=fine[0],
        high_res_feats_1=fine[1],
        dtype=params.embedding_dtype,
    )
