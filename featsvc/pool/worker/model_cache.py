"""The models in a worker's memory: least recently used goes first, and never under a running batch."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from featsvc.errors import FeatsvcError, OutOfMemory, is_out_of_memory
from featsvc.pool.contract.engine_protocol import EngineDevice, EngineModel, WorkerEngines
from featsvc.pool.contract.messages import Boot, WorkerModels
from featsvc.pool.contract.settings import AUTO_MODEL_BYTES, AUTO_MODEL_SHARE
from featsvc.pool.contract.status import FailedModel, LoadedModel
from featsvc.pool.worker.failures import end_if_lost, for_caller

log = logging.getLogger("featsvc.pool.worker.model_cache")


@dataclass(eq=False)
class _PinnedModel:
    """A model, the number of batches that use it, and whether it is given to no other; who waits for their end."""

    loaded: EngineModel
    pins: int = 0
    is_going: bool = False
    when_idle: list[Callable[[], None]] = field(default_factory=list)


def model_bytes(boot: Boot, device: EngineDevice | None) -> int:
    """What models may take in a worker on this device."""
    if boot.model_memory_bytes is not None:
        return boot.model_memory_bytes
    if device is None:
        return AUTO_MODEL_BYTES
    return int(device.total_bytes * AUTO_MODEL_SHARE) // max(1, boot.workers_on_device)


class ModelCache:
    """Loads models on demand, one at a time, within a budget of bytes and of models; 0 is no limit."""

    def __init__(
        self,
        engines: WorkerEngines,
        max_bytes: int,
        max_models: int,
        expected: tuple[str, ...],
        on_change: Callable[[WorkerModels], None],
    ) -> None:
        self._engines = engines
        self._max_bytes = max_bytes
        self._max_models = max_models
        self._expected = set(expected)  # to be preloaded, or here before
        self._failed: dict[str, str] = {}  # of these, why it could not be loaded the last time
        self._on_change = on_change
        self._models: OrderedDict[str, _PinnedModel] = OrderedDict()  # least recently used first
        self._known_bytes: dict[str, int] = {}  # from earlier loads, to make room beforehand
        self._dropped = 0
        """Models that went and whose memory is not yet given back."""
        self._changed = threading.Condition()
        # Held while memory is given back, which may take as long as a pass: others look and load meanwhile.
        self._giving_back = threading.Lock()
        # Who waits for it holds no model, or its holder might wait for that one's room.
        self._loading = threading.RLock()

    def acquire(self, model: str) -> EngineModel:
        """The model, loaded if need be and kept until `release`. One that is here need not wait for a load."""
        while True:
            if found := self._pinned(model):
                return found
            # One that is going is waited for without the lock, which other models' loads need.
            with self._loading:
                if not self._is_here(model):
                    return self._brought(model)

    def acquire_together(self, models: Sequence[str]) -> dict[str, EngineModel]:
        """All of these by name, each kept until `release`, or none; raises OutOfMemory where not all have room."""
        if len(models) == 1:
            return {models[0]: self.acquire(models[0])}
        if held := self.pin(*models):
            return held
        # One batch at a time, or two could hold what the other waits for.
        with self._loading:
            try:
                for model in models:
                    self._check_together(models, held)
                    held[model] = self.acquire(model)
                self._check_together(models, held)
            except FeatsvcError as error:
                self.release(*held)
                if isinstance(error, OutOfMemory):
                    raise OutOfMemory(f"{' and '.join(models)} are needed at once: {error.message}") from None
                raise
        return held

    def _check_together(self, models: Sequence[str], held: Mapping[str, EngineModel]) -> None:
        """Raises where these would have no room though all others went, as far as their sizes are known."""
        if 0 < self._max_models < len(models):
            missing = len(models) - self._max_models
            raise OutOfMemory(
                f"a worker of this server holds {self._max_models} models at most (--max-models), {missing} too few"
            )
        with self._changed:
            known = sum(self._known_bytes.get(model, 0) for model in models if model not in held)
        nbytes = known + sum(each.nbytes for each in held.values())
        if 0 < self._max_bytes < nbytes:
            raise OutOfMemory(
                f"they take {nbytes} bytes, and a worker of this server has {self._max_bytes} for models "
                f"(--model-memory): {nbytes - self._max_bytes} are missing"
            )

    def _is_here(self, model: str) -> bool:
        with self._changed:
            return model in self._models

    def _brought(self, model: str) -> EngineModel:
        """The model, loaded and pinned."""
        self._make_room(model)
        loaded = self._loaded(model)
        with self._changed:
            self._expected.add(model)
            self._failed.pop(model, None)
            self._known_bytes[model] = loaded.nbytes
            self._models[model] = _PinnedModel(loaded, pins=1)
            self._tell()
            has_dropped = self._evict(lambda: self._is_over(0, 0))
        if has_dropped:
            self._give_back()
        return loaded

    def pin(self, *models: str) -> dict[str, EngineModel]:
        """These by name if all are here, kept until `release`; nothing where one is not or is going. Never waits."""
        with self._changed:
            here = self._models
            if any(model not in here or here[model].is_going for model in models):
                return {}
            for model in models:
                here[model].pins += 1
                here.move_to_end(model)
            return {model: here[model].loaded for model in models}

    def release(self, *models: str) -> None:
        """Give back what `acquire` gave."""
        with self._changed:
            for model in models:
                held = self._models[model]
                held.pins -= 1
                if not held.pins:
                    for tell in held.when_idle:
                        tell()
                    held.when_idle.clear()
                del held  # or its memory could not be given back where it goes
            has_dropped = self._evict(lambda: self._is_over(0, 0))
            self._changed.notify_all()
        if has_dropped:
            self._give_back()

    @contextmanager
    def using(self, model: str) -> Iterator[EngineModel]:
        """The model for the time of a with statement."""
        loaded = self.acquire(model)
        try:
            yield loaded
        finally:
            self.release(model)

    def drop_idle(self) -> bool:
        """Drop all models that no batch uses; whether any has gone whose memory was not yet free."""
        with self._changed:
            self._evict(lambda: True)
            has_dropped = self._dropped > 0
        self._give_back()
        return has_dropped

    def unload(self, model: str, when_idle: Callable[[], None]) -> bool | None:
        """Drop a model; false if it is not here. None while batches use it: ask again when it is idle.

        From the first time on it is given to no other batch, so that it becomes idle.
        """
        with self._changed:
            held = self._models.get(model)
            if held is None:
                return False
            if held.pins:
                held.is_going = True
                held.when_idle.append(when_idle)
                return None
            del held  # as above
            self._drop(model)
        self._give_back()
        return True

    def is_going(self, model: str, when_idle: Callable[[], None]) -> bool:
        """Whether the model is to be dropped; who wants it asks again when no batch uses it any more."""
        with self._changed:
            held = self._models.get(model)
            if held is None or not held.is_going:
                return False
            if held.pins:
                held.when_idle.append(when_idle)
            else:
                when_idle()
            return True

    def _pinned(self, model: str) -> EngineModel | None:
        """The model if it is here; one that is going is waited for until it is gone."""
        with self._changed:
            while (held := self._models.get(model)) and held.is_going:
                self._changed.wait()
            if held is None:
                return None
            held.pins += 1
            self._models.move_to_end(model)
            return held.loaded

    def _make_room(self, model: str) -> None:
        """Evict until there is room for a further model, waiting for running batches if need be."""

        def is_over() -> bool:
            return self._is_over(self._known_bytes.get(model, 0), 1)

        has_room = False
        while not has_room:
            with self._changed:
                self._evict(is_over)
                has_room = not is_over()
                # Before it waits, for those batches may need what has gone.
                if not (has_room or self._dropped):
                    self._changed.wait()
            self._give_back()

    def _loaded(self, model: str) -> EngineModel:
        try:
            return self._load(model)
        except FeatsvcError as error:
            if model in self._expected:
                log.error("cannot load %s: %s", model, error.message)
                with self._changed:
                    self._failed[model] = error.message
                    self._tell()
            raise

    def _load(self, model: str) -> EngineModel:
        if loaded := self._attempt(model):
            return loaded
        log.warning("no memory to load %s: all idle models go", model)
        self.drop_idle()
        if loaded := self._attempt(model):
            return loaded
        raise OutOfMemory(f"{model} does not fit into the memory of this server's device")

    def _attempt(self, model: str) -> EngineModel | None:
        """The model, or None where it lacks memory."""
        try:
            return self._engines.load(model)
        except Exception as error:  # the engines' libraries raise anything; the worker must live on
            if is_out_of_memory(error):
                return None
            end_if_lost(error)
            raise for_caller(error, "", f"loading {model}") from None

    def _evict(self, is_needed: Callable[[], bool]) -> bool:
        """Drop idle models, least recently used first, while `is_needed`; whether there were any."""
        idle = [model for model, held in self._models.items() if not held.pins]
        dropped = self._dropped
        for model in idle:
            if not is_needed():
                break
            self._drop(model)
        return self._dropped > dropped

    def _is_over(self, nbytes: int, models: int) -> bool:
        """Whether the budgets do not hold with that much more; one model alone may exceed the bytes."""
        if not self._models or (len(self._models) == 1 and not models):
            return False
        held_bytes = sum(held.loaded.nbytes for held in self._models.values())
        too_many = 0 < self._max_models < len(self._models) + models
        return too_many or 0 < self._max_bytes < held_bytes + nbytes

    def _drop(self, model: str) -> None:
        """Take a model out; who calls gives its memory back, without the lock."""
        del self._models[model]
        self._dropped += 1
        self._tell()
        self._changed.notify_all()
        log.info("model dropped", extra={"model": model})

    def _give_back(self) -> None:
        """Have the memory of all that went free; waits for another thread that does so."""
        with self._giving_back:
            # Only less by this thread: what goes meanwhile is of the next turn.
            if not (dropped := self._dropped):
                return
            gc.collect()  # models hold cycles, and their memory is wanted now
            self._engines.give_back()
            with self._changed:
                self._dropped -= dropped

    def _tell(self) -> None:
        models = (
            LoadedModel(name, held.loaded.nbytes, tuple(held.loaded.keys))
            for name, held in self._models.items()
        )
        failed = (FailedModel(name, reason) for name, reason in self._failed.items())
        self._on_change(WorkerModels(tuple(models), tuple(failed)))
