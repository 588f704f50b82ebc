"""Encodes a picture before the first question about it."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View, embeddings
from featsvc.v1.schema import EmbedImageParams
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import EmbeddedImage


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
    view = RequestPicture(cache, item, loaded, options).whole()
    pixels = loaded.image_size**2
    key = "picture" if loaded.shares_passes else alone()
    return PreparedView(key, pixels, view.flop(loaded), view, orientation=view.orientation)


def run(batch: list[PreparedView], params: EmbedImageParams, loaded: Sam2Model) -> list[EmbeddedImage]:
    """What each picture takes in the cache."""
    views = [item.view for item in batch]
    were_cached = [view.cached() is not None for view in views]
    return [
        EmbeddedImage(each.nbytes, was_cached, *view.size)
        for view, each, was_cached in zip(views, embeddings(views, loaded), were_cached, strict=True)
    ]
