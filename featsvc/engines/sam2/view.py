"""A picture or a part of it that a request asks about; its embedding is made once and kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.answers.rle import Box
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.decoding.reading import Decoded
from featsvc.engines.running.cache import ByteCache
from featsvc.engines.running.transfer import on_device, pinned
from featsvc.engines.running.whole import whole_picture
from featsvc.engines.sam2.embedding import Embedding, encoded_together, seen, sent
from featsvc.engines.sam2.model import Sam2Model
from featsvc.v1.schema import Orientation
from featsvc.work.item import PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import HeightWidth

EmbeddingKey = tuple[Hashable, str, Orientation, Box | None]
"""Whose embedding of what: network, digest of the picture and which way up, the crop's corners or None for all."""
EmbeddingCache = ByteCache[EmbeddingKey, Embedding]


@dataclass(frozen=True)
class View:
    """What the encoder is to see, unless it has seen it before."""

    cache: EmbeddingCache
    key: EmbeddingKey | None
    """None where the picture has no name to keep it under."""
    hit: Embedding | None
    """Held from the preparation on, so that an eviction meanwhile costs nothing."""
    pixels: Callable[[], Tensor]
    """Gives what is `sent` of it; asked only where the embedding is not known."""
    size: HeightWidth
    """Height and width of the picture or crop as sent."""
    orientation: int
    """How the file says that its picture is to be shown, as EXIF counts."""

    def flop(self, loaded: Sam2Model) -> float:
        """What the encoder's part costs."""
        return loaded.encoder_flop if self.hit is None else 0.0

    def cached(self) -> Embedding | None:
        """The embedding if it is known, perhaps by the request before this one."""
        return self.hit or (self.cache.find(self.key) if self.key else None)

    def embedding(self, loaded: Sam2Model) -> Embedding:
        """The embedding, encoded if nobody has done so yet."""
        return embeddings([self], loaded)[0]


def embeddings(views: Sequence[View], loaded: Sam2Model) -> list[Embedding]:
    """Of each view; those that nobody has encoded yet share a pass of the encoder, and each picture is in it once."""
    answers = [view.cached() for view in views]
    names: list[Hashable] = [view.key or index for index, view in enumerate(views)]
    new = {name: view for name, view, known in zip(names, views, answers, strict=True) if known is None}
    made: dict[Hashable, Embedding] = {}
    if new:
        side = loaded.image_size
        pixels = [seen(on_device(view.pixels(), loaded.device), side) for view in new.values()]
        together = torch.cat(pixels) if len(pixels) > 1 else pixels[0]
        sizes = [view.size for view in new.values()]
        every = encoded_together(loaded.network, together, sizes, loaded.encode)
        for (name, view), each in zip(new.items(), every, strict=True):
            made[name] = replace(each, orientation=view.orientation)
            if view.key:
                view.cache.put(view.key, made[name])
    return [known or made[name] for known, name in zip(answers, names, strict=True)]


@dataclass(frozen=True)
class RequestPicture:
    """The picture of one request, decoded only if something of it has to be encoded."""

    cache: EmbeddingCache
    item: PictureItem
    loaded: Sam2Model
    options: EngineOptions

    @cached_property
    def picture(self) -> Decoded:
        """The picture itself."""
        return decoded(self.item, self.options)

    def whole(self) -> View:
        """All of it, made ready now: the device need not wait for that."""
        hit, key = self._hit(None)
        if hit is not None:
            return View(self.cache, key, hit, _gone, (hit.height, hit.width), hit.orientation)
        picture = self.picture.pixels
        device = self.loaded.device
        whole = partial(whole_picture, device=device)
        pixels = pinned(sent(picture, self.loaded.image_size, device, whole), device)
        size = (picture.height, picture.width)
        return View(self.cache, key, None, lambda: pixels, size, self.picture.orientation)

    def crop(self, box: Box) -> View:
        """A part of it, cut out only when the encoder asks for it: many at once would fill the memory."""
        hit, key = self._hit(box)
        x0, y0, x1, y1 = box
        size = (y1 - y0, x1 - x0)
        if hit is not None:
            return View(self.cache, key, hit, _gone, size, hit.orientation)
        pixels = partial(_cut, self.picture.pixels, box, self.loaded)
        return View(self.cache, key, None, pixels, size, self.picture.orientation)

    def _hit(self, box: Box | None) -> tuple[Embedding | None, EmbeddingKey | None]:
        """The embedding if it is in the cache, and where it is kept."""
        if not self.item.digest:
            return None, None
        key = (self.loaded.identity, self.item.digest, self.item.orientation, box)
        return self.cache.find(key), key


def _cut(picture: Image, box: Box, loaded: Sam2Model) -> Tensor:
    return sent(picture.crop(box), loaded.image_size, loaded.device)


def _gone() -> Tensor:
    raise LookupError("who knows the embedding keeps no pixels")
