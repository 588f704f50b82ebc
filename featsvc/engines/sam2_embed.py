"""Encodes a picture before the first question about it."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.engines.family import Prepared, alone
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import EmbeddedImage, Result
from featsvc.engines.sam2_model import Sam2Model
from featsvc.engines.sam2_view import EmbeddingCache, Subject, View
from featsvc.v1.schema import EmbedImageParams


@dataclass(frozen=True)
class PreparedPicture(Prepared):
    """A picture for the encoder."""

    view: View


def prepare(
    cache: EmbeddingCache, item: Item, params: EmbedImageParams, loaded: Sam2Model, options: EngineOptions
) -> PreparedPicture:
    """Decodes the picture if need be."""
    view = Subject(cache, item, loaded, options).whole()
    return PreparedPicture(alone(), loaded.image_size**2, view)


def run(batch: list[PreparedPicture], params: EmbedImageParams, loaded: Sam2Model) -> list[Result]:
    """What each picture takes in the cache."""
    return [_embedded(item.view, loaded) for item in batch]


def _embedded(view: View, loaded: Sam2Model) -> EmbeddedImage:
    found = view.found()
    embedding = found or view.embedding(loaded)
    return EmbeddedImage(embedding.nbytes, found is not None, *view.size)
