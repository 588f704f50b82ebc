"""The engines of a worker process: load a model, prepare items, run batches of them."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import cv2
import torch
from PIL import Image
from pydantic import BaseModel

from featsvc.catalog import entry_of
from featsvc.engines.answers.joint_basis import BasisCache
from featsvc.engines.clip import operations as clip
from featsvc.engines.clip.pyramids import pyramid_cache
from featsvc.engines.clip.text import text_cache
from featsvc.engines.decoding.card import CardDecoder
from featsvc.engines.decoding.pictures import limits_of, may_take_long
from featsvc.engines.decoding.processes import Decoders
from featsvc.engines.dino import operations as dino
from featsvc.engines.networks.compiled import allow_graphs
from featsvc.engines.networks.cost import LONG_FLOP
from featsvc.engines.networks.graphs import has_graphs
from featsvc.engines.networks.packed import multiplies_bfloat16
from featsvc.engines.networks.precision import is_ampere, precision_on
from featsvc.engines.objects import operations as objects
from featsvc.engines.running.cache import ByteCache, CacheStats
from featsvc.engines.running.family import AnyComputation, FamilyEngines, Loaded, Prepared, Together
from featsvc.engines.running.gpu import Gpu, give_back, gpu, make_current, trim
from featsvc.engines.running.homeward import Later
from featsvc.engines.running.interrupt import interruptible
from featsvc.engines.running.memory import out_of_memory_as
from featsvc.engines.running.products import set_products
from featsvc.engines.running.steps import stepping
from featsvc.engines.running.turns import TURNS
from featsvc.engines.running.usable import check_device
from featsvc.engines.sam2 import operations as sam2
from featsvc.engines.sam2.view import EmbeddingCache
from featsvc.errors import OutOfMemory
from featsvc.work.coming import Coming
from featsvc.work.devices import is_gpu
from featsvc.work.item import Item, pictures_of
from featsvc.work.options import EngineOptions
from featsvc.work.results import OfPicture, Result

T = TypeVar("T")
log = logging.getLogger("featsvc.engines.registry")


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Engines:
    """All families on one device, and what they keep between requests. Holds no model: who called `load` keeps it."""

    options: EngineOptions
    families: Mapping[str, FamilyEngines]
    kept: tuple[ByteCache[Any, Any], ...]
    joint: tuple[AnyComputation, ...]
    """What models of several families compute together."""

    @property
    def precision(self) -> str:
        """What networks compute in on this device."""
        return self.options.precision

    def load(self, model: str) -> Loaded:
        """The model with this catalog key, on the device."""
        try:
            return self._loaded(model, self.options)
        except OutOfMemory:
            if not has_graphs(self.options):
                raise
        log.warning("%s does not fit with its graphs of CUDA, and is loaded without", model)
        return self._loaded(model, replace(self.options, cuda_graphs=False))

    def _loaded(self, model: str, options: EngineOptions) -> Loaded:
        # CUDA's current device is a thread's own, and another thread has built these.
        make_current(options.device)
        entry = entry_of(model)
        message = f"{model} does not fit into the memory of {options.device}"
        try:
            return self._with_room(lambda: self.families[entry.family].load(entry, options), message)
        except OutOfMemory:
            gc.collect()  # what was there of it is in cycles
            raise

    def together(self, models: list[Loaded]) -> Loaded:
        """Loaded models as one, for operations that compute with several."""
        return Together(tuple(models))

    def may_take_long(self, item: Item) -> bool:
        """Whether preparing it may hold up others: by a picture that is not quickly decoded."""
        pictures = pictures_of(item)
        return bool(pictures) and may_take_long(pictures, self.options)

    def prepare(
        self,
        operation: str,
        item: Item,
        params: BaseModel,
        loaded: Loaded,
        wanted: Callable[[], bool] = _always,
    ) -> Prepared:
        """Decodes and checks an item on the CPU; raises what is wrong with it before the device works.

        Raises Abandoned where that takes long and `wanted()` has become false.
        """
        make_current(self.options.device)  # as above
        with stepping(wanted):
            prepared: Prepared = self._computations[operation].prepare(item, params, loaded, self.options)
            return prepared

    def batch_key(self, prepared: Prepared) -> Hashable:
        """Items with equal keys may share a forward pass."""
        return prepared.batch_key

    def pixels(self, prepared: Prepared) -> int:
        """Memory of an item for the batch budget."""
        return prepared.pixels

    def flop(self, prepared: Prepared) -> float:
        """Arithmetic of an item, about."""
        return prepared.flop

    def run(
        self,
        operation: str,
        prepared: list[Prepared],
        params: BaseModel,
        loaded: Loaded,
        wanted: Callable[[], bool] = _always,
    ) -> Sequence[Result]:
        """One result for each item, in their order; raises Abandoned soon after `wanted()` has become false.

        `wanted` is asked every few tenths of a second, and may run other items meanwhile. A GPU has computed what it
        answers when this returns, and results may be `Coming` home.
        """
        settled = self._settled(sum(each.flop for each in prepared))
        place, count = self.options.device, len(prepared)
        message = f"{place} has no memory for {count} items at once: try a smaller picture"

        def act() -> Sequence[Result]:
            made: Sequence[Result | Later[Result]]
            with self._turn(), torch.inference_mode(), interruptible(wanted, loaded.stops, settled):
                try:
                    made = self._computations[operation].run(prepared, params, loaded)
                finally:
                    # Also of a pass that fails: what it has begun is not the next one's, nor may its model go before.
                    if is_gpu(place):
                        torch.cuda.current_stream(place).synchronize()
            makers = [
                partial(_home, each, item.orientation, place)
                for each, item in zip(made, prepared, strict=True)
            ]
            is_coming = any(isinstance(each, Later) and each.came is not None for each in made)
            return Coming(makers) if is_coming else [make() for make in makers]

        return self._with_room(act, message)

    def device(self) -> Gpu | None:
        """The GPU and its memory; None for another device."""
        return gpu(self.options.device)

    def give_back(self) -> int:
        """Hands memory that nothing uses back to the device; returns its bytes."""
        make_current(self.options.device)
        # Who computes is not waited for: it may wait for whoever sends a model away.
        with TURNS.between_captures():
            return give_back(self.options.device)

    def trim(self) -> None:
        """Hands memory of the host that is kept for copies and not in use back to the system."""
        make_current(self.options.device)
        with TURNS.between_captures():
            trim(self.options.device)

    def caches(self) -> tuple[CacheStats, ...]:
        """What each cache holds, and how often it helped."""
        return tuple(cache.stats() for cache in self.kept)

    def _settled(self, flop: float) -> Callable[[], None] | None:
        """What waits for a GPU between the steps of a long pass: it would be given all of them at once."""
        if not is_gpu(self.options.device) or flop < LONG_FLOP:
            return None

        def settled() -> None:
            torch.cuda.current_stream(self.options.device).synchronize()
            TURNS.give_way()

        return settled

    def _turn(self) -> AbstractContextManager[None]:
        """That in which a GPU computes or gives memory back, where graphs are captured beside."""
        return TURNS.computing() if has_graphs(self.options) else nullcontext()

    @cached_property
    def _computations(self) -> Mapping[str, AnyComputation]:
        """By the names of their rpcs."""
        families = self.families.values()
        own = (each for family in families for each in family.computations)
        return {each.operation.rpc: each for each in (*own, *self.joint)}

    def _with_room(self, act: Callable[[], T], message: str) -> T:
        """What `act` returns; where memory runs out, what is kept between requests goes before the request does."""
        try:
            with out_of_memory_as(message):
                return act()
        except OutOfMemory as error:
            message = error.message
            # As text, for a record of the log would hold the error.
            log.warning("out of memory: %s", str(error.__cause__))
        # Only here, for the error held what the failed pass had taken.
        if not self._freed():
            raise OutOfMemory(message)
        with out_of_memory_as(message):
            return act()

    def _freed(self) -> int:
        """Bytes of the device that were kept and are free now."""
        is_host = not is_gpu(self.options.device)
        kept = sum(cache.clear() for cache in self.kept if is_host or not cache.is_on_host)
        return kept + self.give_back()


def _home(made: Result | Later[Result], orientation: int, place: str) -> Result:
    """An answer once it is here, with what its picture's file says of the way up; any thread may ask."""
    if isinstance(made, Later):
        if made.came is not None:
            make_current(place)  # of the thread that writes
        with out_of_memory_as("no memory to write the answer: ask for less at once"), torch.inference_mode():
            made = made.result()
    return replace(made, image_orientation=orientation) if isinstance(made, OfPicture) else made


def build(options: EngineOptions) -> Engines:
    """The engines of this process; sets how many threads its libraries use."""
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    # Our own limit is checked from the header before decoding; Pillow's only adds a warning.
    Image.MAX_IMAGE_PIXELS = None
    # A device that is not there must fail the start of its worker, not every request.
    check_device(options.device)
    if options.compile:
        allow_graphs()  # this thread computes, and another loads
    embeddings: EmbeddingCache = ByteCache(
        "sam2_embeddings", options.embedding_cache, lambda embedding: embedding.nbytes
    )
    options = _with_precision(options)
    card = CardDecoder(options.device) if options.jpeg_on_gpu and is_gpu(options.device) else None
    options = replace(options, reader=Decoders(limits_of(options), options.decode_timeout), card=card)
    texts = text_cache(options.text_cache)
    tiles = pyramid_cache(options.pyramid_cache)
    bases = BasisCache(options.basis_cache)
    families = {
        "clip": clip.family(texts, tiles, bases),
        "dino": dino.family(bases),
        "sam2": sam2.family(embeddings),
    }
    kept = (embeddings, texts, tiles, bases)
    return Engines(options, families, kept, objects.computations(embeddings, texts))


def _with_precision(options: EngineOptions) -> EngineOptions:
    """The options with the precision of this device, which the process computes in from now on."""
    precision = precision_on(options.device, options.precision)
    if is_gpu(options.device):
        set_products(precision)
        if precision == "bf16" and not is_ampere(options.device):
            log.warning(
                "%s has no units for bfloat16, in which it may be slower than in float32: --precision fp16 takes as "
                "little memory and has units there, and --precision auto is float32",
                options.device,
            )
    elif options.device == "cpu" and precision == "bf16" and not multiplies_bfloat16():
        log.warning("this processor has no instructions for bfloat16: --precision fp32 is faster here")
    return replace(options, precision=precision)
