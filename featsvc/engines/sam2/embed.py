"""Encodes a picture before the first question about it."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.engines.running.family import Prepared, alone
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture, View
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
    return PreparedView(alone(), pixels, view.flop(loaded), view, orientation=view.orientation)


def run(batch: list[PreparedView], params: EmbedImageParams, loaded: Sam2Model) -> list[EmbeddedImage]:
    """What each picture takes in the cache."""
    return [_embedded(item.view, loaded) for item in batch]


def _embedded(view: View, loaded: Sam2Model) -> EmbeddedImage:
    cached = view.cached()
    embedding = cached or view.embedding(loaded)
    return EmbeddedImage(embedding.nbytes, cached is not None, *view.size)
