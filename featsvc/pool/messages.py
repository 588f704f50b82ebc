"""What a pool and its worker processes say to each other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from featsvc.errors import FeatsvcError
from featsvc.pool.status import CacheStatus, LoadedModel


@dataclass(frozen=True)
class Boot:
    """First message to a worker: who it is."""

    worker: int
    device: str
    engines: str
    engine_options: object | None
    prepare_threads: int
    max_batch_pixels: int
    preload: tuple[str, ...]
    model_memory_bytes: int
    max_models: int
    log_level: str
    log_setup: str


@dataclass(frozen=True)
class Cargo:
    """One item of a batch."""

    id: int
    request_id: str
    item: object
    deadline: float | None


@dataclass(frozen=True)
class RunBatch:
    """Items of one operation, model and params."""

    id: int
    operation: str
    model: str
    params: Hashable
    items: tuple[Cargo, ...]


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this item any more."""

    item: int


@dataclass(frozen=True)
class Load:
    """Load a model; answered by Reply."""

    call: int
    model: str


@dataclass(frozen=True)
class Unload:
    """Drop a model; answered by Reply."""

    call: int
    model: str


@dataclass(frozen=True)
class Ready:
    """The worker takes work."""

    failed_preloads: tuple[str, ...]


@dataclass(frozen=True)
class Models:
    """The models that the worker has now."""

    models: tuple[LoadedModel, ...]


@dataclass(frozen=True)
class Caches:
    """The caches of the worker's engines, when they have changed."""

    caches: tuple[CacheStatus, ...]


@dataclass(frozen=True)
class Outcome:
    """The answer to one item: a result, an error, or neither when the worker skipped it as unwanted."""

    item: int
    result: object | None = None
    error: FeatsvcError | None = None
    skipped: bool = False


@dataclass(frozen=True)
class Reply:
    """The answer to Load or Unload; `done` is false when there was nothing to unload."""

    call: int
    error: FeatsvcError | None = None
    done: bool = True


ToWorker = Boot | RunBatch | Cancel | Load | Unload
FromWorker = Ready | Models | Caches | Outcome | Reply
