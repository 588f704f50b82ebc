"""What the pool needs from the engines that run in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol


class EngineModel(Protocol):
    """A model in memory."""

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of this model for health pages."""
        ...


class EngineCacheStats(Protocol):
    """A cache at one moment; `max_bytes` 0 is one that keeps nothing."""

    @property
    def name(self) -> str:
        """What it keeps."""
        ...

    @property
    def hits(self) -> int:
        """Values that were here when they were wanted."""
        ...

    @property
    def misses(self) -> int:
        """Values that had to be made."""
        ...

    @property
    def evictions(self) -> int:
        """Values that had to go."""
        ...

    @property
    def entries(self) -> int:
        """Values that are here."""
        ...

    @property
    def nbytes(self) -> int:
        """What they take."""
        ...

    @property
    def max_bytes(self) -> int:
        """What they may take."""
        ...


class EngineDevice(Protocol):
    """A GPU at one moment."""

    @property
    def name(self) -> str:
        """Its kind."""
        ...

    @property
    def uuid(self) -> str:
        """What no other GPU is called."""
        ...

    @property
    def total_bytes(self) -> int:
        """Its memory."""
        ...

    @property
    def free_bytes(self) -> int:
        """What no process holds of it."""
        ...

    @property
    def utilization_percent(self) -> int | None:
        """How much of its time it has computed lately; None where nobody knows."""
        ...


class WorkerEngines(Protocol):
    """All operations on one device. `Any` is an item, prepared or not, or a result: opaque to the pool."""

    @property
    def precision(self) -> str:
        """What networks compute in, as status pages name it."""
        ...

    def load(self, model: str) -> EngineModel:
        """The model of this catalog name; called by one thread at a time."""
        ...

    def together(self, models: list[Any]) -> EngineModel:
        """Loaded models as one, for operations that compute with several: what `prepare` and `run` get as `loaded`."""
        ...

    def may_take_long(self, item: Any) -> bool:
        """Whether preparing the item may take so long that others should not wait for it; quick itself."""
        ...

    def prepare(self, operation: str, item: Any, params: Any, loaded: Any, wanted: Callable[[], bool]) -> Any:
        """The item decoded and resized: work for the processor, called by several threads at once.

        May raise Abandoned once `wanted()` is false: its caller has gone.
        """
        ...

    def batch_key(self, prepared: Any) -> Hashable:
        """Items of equal keys may share one forward pass."""
        ...

    def pixels(self, prepared: Any) -> int:
        """The memory of the item against the batch budget."""
        ...

    def flop(self, prepared: Any) -> float:
        """The arithmetic of the item, about: what is short may run while a long pass pauses."""
        ...

    def run(
        self, operation: str, prepared: list[Any], params: Any, loaded: Any, wanted: Callable[[], bool]
    ) -> Sequence[Any]:
        """One result per prepared item, in the same order, or such as are `Coming`; called by one thread.

        May raise Abandoned once `wanted()` is false: the callers of all these items have gone. That is to be asked
        between the steps of a pass, and may call `run` again for other items before it answers.
        """
        ...

    def device(self) -> EngineDevice | None:
        """The GPU and how its memory stands; None for another device. Called by any thread."""
        ...

    def give_back(self) -> int:
        """Hand memory that nothing uses back to the device; returns its bytes. Called by any thread."""
        ...

    def trim(self) -> None:
        """Hand memory of the host that is kept for copies and not in use back to the system. Called by any thread."""
        ...

    def caches(self) -> tuple[EngineCacheStats, ...]:
        """What is kept between requests; asked after every batch."""
        ...


class BuildEngines(Protocol):
    """The function that an import path such as `featsvc.engines.registry:build` names."""

    def __call__(self, options: Any) -> WorkerEngines:
        """The engines of one worker."""
        ...
