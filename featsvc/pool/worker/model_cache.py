"""The models in a worker's memory: least recently used goes first, and never under a running batch."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from featsvc.errors import OutOfMemory
from featsvc.pool.engine_protocol import Engines, Loaded
from featsvc.pool.status import LoadedModel
from featsvc.pool.worker.failures import for_caller, is_out_of_memory

log = logging.getLogger("featsvc.pool.worker.model_cache")


@dataclass(eq=False)
class _Shelf:
    """A model and the number of batches that use it."""

    loaded: Loaded
    pins: int = 0


class ModelCache:
    """Loads models on demand, one at a time, within a budget of bytes and of models; 0 is no limit."""

    def __init__(
        self,
        engines: Engines,
        max_bytes: int,
        max_models: int,
        on_change: Callable[[tuple[LoadedModel, ...]], None],
    ) -> None:
        self._engines = engines
        self._max_bytes = max_bytes
        self._max_models = max_models
        self._on_change = on_change
        self._shelves: OrderedDict[str, _Shelf] = OrderedDict()  # least recently used first
        self._known_bytes: dict[str, int] = {}  # from earlier loads, to make room beforehand
        self._changed = threading.Condition()
        self._loading = threading.Lock()

    def acquire(self, model: str) -> Loaded:
        """The model, loaded if need be and kept until `release`. One that is here need not wait for a load."""
        if found := self._pinned(model):
            return found
        with self._loading:
            # Another load may have brought it meanwhile.
            if found := self._pinned(model):
                return found
            with self._changed:
                self._make_room(self._known_bytes.get(model, 0), models=1)
            loaded = self._load(model)
            with self._changed:
                self._known_bytes[model] = loaded.nbytes
                self._shelves[model] = _Shelf(loaded, pins=1)
                self._tell()
                self._evict(lambda: self._is_over(0, 0))
            return loaded

    def holds(self, model: str) -> bool:
        """Whether the model is here now."""
        with self._changed:
            return model in self._shelves

    def release(self, model: str) -> None:
        """Give back what `acquire` gave."""
        with self._changed:
            self._shelves[model].pins -= 1
            self._evict(lambda: self._is_over(0, 0))
            self._changed.notify_all()

    @contextmanager
    def using(self, model: str) -> Iterator[Loaded]:
        """The model for the time of a with statement."""
        loaded = self.acquire(model)
        try:
            yield loaded
        finally:
            self.release(model)

    def unload(self, model: str) -> bool:
        """Drop a model as soon as no batch uses it; false if it is not here."""
        with self._changed:
            while (shelf := self._shelves.get(model)) and shelf.pins:
                self._changed.wait()
            if not shelf:
                return False
            self._drop(model)
            return True

    def _pinned(self, model: str) -> Loaded | None:
        with self._changed:
            shelf = self._shelves.get(model)
            if shelf is None:
                return None
            shelf.pins += 1
            self._shelves.move_to_end(model)
            return shelf.loaded

    def _make_room(self, nbytes: int, models: int) -> None:
        """Evict until there is room for another model, waiting for running batches if need be."""
        self._evict(lambda: self._is_over(nbytes, models))
        while self._is_over(nbytes, models) and self._shelves:
            self._changed.wait()
            self._evict(lambda: self._is_over(nbytes, models))

    def _load(self, model: str) -> Loaded:
        try:
            return self._engines.load(model)
        except Exception as error:  # the engines' libraries raise anything; the worker must live on
            if not is_out_of_memory(error):
                raise for_caller(error, "", f"loading {model}") from None
        log.warning("no memory to load %s: all idle models go", model)
        with self._changed:
            self._evict(lambda: True)
        try:
            return self._engines.load(model)
        except Exception as error:  # as above
            if is_out_of_memory(error):
                raise OutOfMemory(f"{model} does not fit into the memory of this server's device") from None
            raise for_caller(error, "", f"loading {model}") from None

    def _evict(self, wanted: Callable[[], bool]) -> None:
        """Drop idle models, least recently used first, while `wanted`."""
        idle = [model for model, shelf in self._shelves.items() if not shelf.pins]
        for model in idle:
            if not wanted():
                break
            self._drop(model)

    def _is_over(self, nbytes: int, models: int) -> bool:
        """Whether the budgets do not hold with that much more; one model alone may exceed the bytes."""
        if not self._shelves or (len(self._shelves) == 1 and not models):
            return False
        held = sum(shelf.loaded.nbytes for shelf in self._shelves.values())
        too_many = 0 < self._max_models < len(self._shelves) + models
        return too_many or 0 < self._max_bytes < held + nbytes

    def _drop(self, model: str) -> None:
        del self._shelves[model]
        self._tell()  # at once: what waits here for this model may now wait as long as a load takes
        gc.collect()  # models hold cycles, and their memory is wanted now
        log.info("model dropped", extra={"model": model})

    def _tell(self) -> None:
        self._on_change(
            tuple(
                LoadedModel(name, shelf.loaded.nbytes, tuple(shelf.loaded.keys))
                for name, shelf in self._shelves.items()
            )
        )
