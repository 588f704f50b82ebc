"""What a pool says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEAD = "dead"  # and about to start again
    FAILED = "failed"  # too many starts in a row failed: tried again all the same, but nobody waits for it


@dataclass(frozen=True)
class LoadedModel:
    """A model in the memory of a worker; `keys` are its names for health pages."""

    name: str
    nbytes: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class FailedModel:
    """A model that should be in memory and cannot be loaded; `reason` is written for callers."""

    name: str
    reason: str


@dataclass(frozen=True)
class CacheStatus:
    """A cache of a worker's engines, since the worker started; `max_bytes` 0 is one that keeps nothing."""

    name: str
    hits: int
    misses: int
    evictions: int
    entries: int
    nbytes: int
    max_bytes: int


@dataclass(frozen=True)
class GpuStatus:
    """The GPU of a worker; `free_bytes` is what no process holds, and nobody may know how much of it is used."""

    name: str
    uuid: str
    total_bytes: int
    free_bytes: int
    utilization_percent: int | None = None


@dataclass(frozen=True)
class WorkerStatus:
    """One worker, since the pool started."""

    id: int
    pid: int | None
    device: str
    state: WorkerState
    models: tuple[LoadedModel, ...]
    failed_models: tuple[FailedModel, ...]
    batches: int
    items: int
    restarts: int
    caches: tuple[CacheStatus, ...] = ()
    gpu: GpuStatus | None = None
    precision: str = ""
    """What its networks compute in; empty until it has started once."""
    machine: str = ""
    """The address of its machine, where workers may run on several."""

    @property
    def is_alive(self) -> bool:
        """Whether it takes work."""
        return self.state in (WorkerState.READY, WorkerState.BUSY)


@dataclass(frozen=True)
class OpenJobs:
    """The jobs of one operation, model and caller that have no answer yet."""

    operation: str
    model: str
    caller: str
    """Empty where nobody with a key asks."""
    waiting: int
    waiting_bytes: int
    oldest_s: float
    """How long the first of those has waited that wait."""
    at_work: int


@dataclass(frozen=True)
class PoolStatus:
    """All workers and the queue before them."""

    workers: tuple[WorkerStatus, ...]
    queued_count: int
    queued_bytes: int
    total_requests: int
    open_requests: int = 0
    """Those that wait or are at work now."""
    open_jobs: tuple[OpenJobs, ...] = ()
    """The same, by what they ask and who does."""

    @property
    def alive(self) -> int:
        """Workers that take work."""
        return sum(worker.is_alive for worker in self.workers)
