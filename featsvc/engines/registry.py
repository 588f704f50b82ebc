"""The engines of a worker process: load a model, prepare items, run batches of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import torch
from PIL import Image
from pydantic import BaseModel

from featsvc.catalog import entry_of
from featsvc.engines import clip, dino, sam2
from featsvc.engines.cache import ByteCache, CacheStats
from featsvc.engines.clip_text import text_cache
from featsvc.engines.family import Family, Loaded, Operation, Prepared
from featsvc.engines.interrupt import interruptible
from featsvc.engines.item import Item
from featsvc.engines.memory import out_of_memory_as
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import Result
from featsvc.engines.sam2_view import EmbeddingCache
from featsvc.errors import OutOfMemory

T = TypeVar("T")


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Engines:
    """All families on one device, and what they keep between requests. Holds no model: who called `load` keeps it."""

    options: EngineOptions
    families: Mapping[str, Family]
    kept: tuple[ByteCache[Any, Any], ...]

    def load(self, model: str) -> Loaded:
        """The model with this catalog key, on the device."""
        entry = entry_of(model)
        message = f"{model} does not fit into the memory of {self.options.device}"
        return self._with_room(lambda: self.families[entry.family].load(entry, self.options), message)

    def prepare(self, operation: str, item: Item, params: BaseModel, loaded: Loaded) -> Prepared:
        """Decodes and checks an item on the CPU; raises what is wrong with it before the device works."""
        return self._operation(operation).prepare(item, params, loaded, self.options)

    def batch_key(self, prepared: Prepared) -> Hashable:
        """Items with equal keys may share a forward pass."""
        return prepared.batch_key

    def pixels(self, prepared: Prepared) -> int:
        """Cost of an item for the batch budget."""
        return prepared.pixels

    def run(
        self,
        operation: str,
        prepared: list[Prepared],
        params: BaseModel,
        loaded: Loaded,
        wanted: Callable[[], bool] = _always,
    ) -> list[Result]:
        """One result for each item, in their order; raises Abandoned soon after `wanted()` has become false."""

        def act() -> list[Result]:
            with torch.inference_mode(), interruptible(wanted, loaded.stops):
                return self._operation(operation).run(prepared, params, loaded)

        place, count = self.options.device, len(prepared)
        return self._with_room(act, f"{place} has no memory for {count} items at once: try a smaller picture")

    def caches(self) -> tuple[CacheStats, ...]:
        """What each cache holds, and how often it helped."""
        return tuple(cache.stats() for cache in self.kept)

    def _operation(self, name: str) -> Operation:
        return self.families[name.split(".")[0]].operations[name]

    def _with_room(self, act: Callable[[], T], message: str) -> T:
        """What `act` returns; where memory runs out, what is kept between requests goes before the request does."""
        try:
            with out_of_memory_as(message):
                return act()
        except OutOfMemory:
            if not sum(cache.clear() for cache in self.kept):
                raise
        with out_of_memory_as(message):
            return act()


def build(options: EngineOptions) -> Engines:
    """The engines of this process; sets how many threads its libraries use."""
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    # Our own limit is checked from the header before decoding; Pillow's only adds a warning.
    Image.MAX_IMAGE_PIXELS = None
    # A device that is not there must fail the start of its worker, not every request.
    torch.empty(1, device=options.device)
    embeddings: EmbeddingCache = ByteCache(
        "sam2_embeddings", options.embedding_cache_bytes, lambda embedding: embedding.nbytes
    )
    texts = text_cache(options.text_cache_bytes)
    families = {"clip": clip.family(texts), "dino": dino.FAMILY, "sam2": sam2.family(embeddings)}
    return Engines(options, families, (embeddings, texts))
