"""A picture or a part of it that a request asks about; its embedding is made once and kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property, partial

from PIL.Image import Image
from torch import Tensor

from featsvc.engines.cache import ByteCache
from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.pictures import decoded
from featsvc.engines.sam2_embedding import Embedding, encoded, encoder_input
from featsvc.engines.sam2_model import Sam2Model

Box = tuple[int, int, int, int]
Key = tuple[Hashable, str, Box | None]
"""Whose embedding of what: network, digest of the picture, and the crop's corners or None for all of it."""
EmbeddingCache = ByteCache[Key, Embedding]


@dataclass(frozen=True)
class View:
    """What the encoder is to see, unless it has seen it before."""

    cache: EmbeddingCache
    key: Key | None
    """None where the picture has no name to keep it under."""
    known: Embedding | None
    """Held from the preparation on, so that an eviction meanwhile costs nothing."""
    pixels: Callable[[], Tensor]
    """Gives 3 x S x S; asked only where the embedding is not known."""
    size: tuple[int, int]
    """Height and width of the picture or crop as sent."""

    def found(self) -> Embedding | None:
        """The embedding if it is known, perhaps by the request before this one."""
        return self.known or (self.cache.find(self.key) if self.key else None)

    def embedding(self, loaded: Sam2Model) -> Embedding:
        """The embedding, encoded if nobody has done so yet."""
        found = self.found()
        if found is not None:
            return found
        made = encoded(loaded.network, self.pixels().to(loaded.device), self.size)
        if self.key:
            self.cache.put(self.key, made)
        return made


@dataclass(frozen=True)
class Subject:
    """The picture of one request, decoded only if something of it has to be encoded."""

    cache: EmbeddingCache
    item: Item
    loaded: Sam2Model
    options: EngineOptions

    @cached_property
    def picture(self) -> Image:
        """The picture itself."""
        return decoded(self.item.image, self.options)

    def whole(self) -> View:
        """All of it, resized now: the device need not wait for that."""
        known, key = self._known(None)
        if known is not None:
            return View(self.cache, key, known, _gone, (known.height, known.width))
        pixels = encoder_input(self.picture, self.loaded.image_size)
        return View(self.cache, key, None, lambda: pixels, (self.picture.height, self.picture.width))

    def crop(self, box: Box) -> View:
        """A part of it, cut out only when the encoder asks for it: many at once would fill the memory."""
        known, key = self._known(box)
        x0, y0, x1, y1 = box
        return View(
            self.cache,
            key,
            known,
            _gone if known else partial(_cut, self.picture, box, self.loaded.image_size),
            (y1 - y0, x1 - x0),
        )

    def _known(self, box: Box | None) -> tuple[Embedding | None, Key | None]:
        """The embedding if it is in the cache, and where it is kept."""
        if not self.item.digest:
            return None, None
        key = (self.loaded.identity, self.item.digest, box)
        return self.cache.find(key), key


def _cut(picture: Image, box: Box, image_size: int) -> Tensor:
    return encoder_input(picture.crop(box), image_size)


def _gone() -> Tensor:
    raise LookupError("who knows the embedding keeps no pixels")
