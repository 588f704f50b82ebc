"""What a pool and its worker processes say to each other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from featsvc.errors import FeatsvcError, Overloaded
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import CacheStatus, FailedModel, GpuStatus, LoadedModel
from featsvc.work.devices import torch_name


@dataclass(frozen=True)
class Boot:
    """First message to a worker: who it is."""

    worker: int
    device: str
    threads: int
    engines: str
    engine_options: object | None
    prepare_threads: int
    prepared_at_once: int
    """Batches that are being prepared at a time."""
    max_batch_pixels: int
    regrow_after_s: float
    give_back_after_s: float
    preload: tuple[str, ...]
    model_memory_bytes: int | None
    workers_on_device: int
    max_models: int
    log_level: str
    log_format: str

    @classmethod
    def of(cls, worker: int, device: str, settings: PoolSettings) -> Boot:
        """The settings of the pool, as one worker gets them."""
        options: Any = settings.engine_options  # a dataclass of the engines with these two fields
        if options is not None:
            options = replace(options, device=torch_name(device), threads=settings.threads_per_worker)
        return cls(
            worker=worker,
            device=device,
            threads=settings.threads_per_worker,
            engines=settings.engines,
            engine_options=options,
            prepare_threads=settings.prepare_threads_per_worker,
            prepared_at_once=max(1, settings.slots_per_worker - 1),
            max_batch_pixels=settings.max_batch_pixels,
            regrow_after_s=settings.regrow_after_s,
            give_back_after_s=settings.give_back_after_s,
            preload=settings.preload,
            model_memory_bytes=settings.model_memory_bytes,
            workers_on_device=settings.worker_devices.count(device),
            max_models=settings.max_models,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )


@dataclass(frozen=True)
class BatchItem:
    """One item of a batch."""

    id: int
    request_id: str
    item: object
    left_s: float | None
    """Seconds until its deadline when it was sent: clocks differ from machine to machine."""


@dataclass(frozen=True)
class RunBatch:
    """Items of one operation, model and params."""

    id: int
    operation: str
    model: str
    params: Hashable
    items: tuple[BatchItem, ...]
    also: tuple[str, ...] = ()
    """Further models that they need, in the order of the operation; one may stand here several times."""
    goes_first: bool = False
    """Before those that the worker has and has not begun."""

    @property
    def models(self) -> tuple[str, ...]:
        """All that they need, each once."""
        return tuple(dict.fromkeys((self.model, *self.also)))

    def unread(self) -> Unread:
        """What the worker gets where it has no room for this."""
        return Unread(tuple(item.id for item in self.items))


@dataclass(frozen=True)
class Unread:
    """A batch whose content did not arrive."""

    items: tuple[int, ...]


@dataclass(frozen=True)
class Ping:
    """Asks for Pong, to be answered at once whatever the worker computes."""


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this item any more."""

    item: int


@dataclass(frozen=True)
class Load:
    """Load a model; answered by LoadReply."""

    call: int
    model: str

    @property
    def models(self) -> tuple[str, ...]:
        """As of a batch."""
        return (self.model,)


@dataclass(frozen=True)
class Unload:
    """Drop a model; answered by LoadReply."""

    call: int
    model: str


@dataclass(frozen=True)
class WorkerReady:
    """The worker takes work."""

    precision: str = ""
    """What its networks compute in."""


@dataclass(frozen=True)
class Refused:
    """The worker cannot work here, whenever it starts."""

    error: FeatsvcError


@dataclass(frozen=True)
class Pong:
    """The worker answers."""


@dataclass(frozen=True)
class WorkerModels:
    """The models that the worker has now, and those that it should have and cannot load."""

    models: tuple[LoadedModel, ...]
    failed: tuple[FailedModel, ...] = ()


@dataclass(frozen=True)
class WorkerCaches:
    """The caches of the worker's engines, when they have changed."""

    caches: tuple[CacheStatus, ...]


@dataclass(frozen=True)
class WorkerGpu:
    """The worker's GPU, where its memory or its use has changed; told now and then."""

    gpu: GpuStatus


class ItemTiming(NamedTuple):
    """What an item has taken at a worker, in seconds; durations alone, for clocks differ from machine to machine.

    No dataclass: it comes with every answer, and as a tuple it is packed and read sooner.
    """

    decode_s: float
    """Its own preparation: decoding and resizing."""
    waited_s: float
    """From there to the pass of the network."""
    compute_s: float
    """That pass, without its pauses; all that shared it have the same."""
    paused_s: float
    batch_size: int
    """How many shared the pass."""
    is_first: bool
    """Whether it is the first of them: who counts passes counts these."""
    result_bytes: int = 0
    """Of what is large in its result."""

    @classmethod
    def of_unanswered(cls, decode_s: float, compute_s: float = 0.0) -> ItemTiming:
        """Of an item without a result: its preparation, and its part of the passes that came to nothing."""
        return cls(decode_s, 0.0, compute_s, 0.0, 1, is_first=False)

    @property
    def cost_s(self) -> float:
        """What it has had of the worker."""
        return self.decode_s + self.compute_s / self.batch_size


@dataclass(frozen=True)
class Outcome:
    """The answer to one item: a result, an error, or neither when the worker skipped it as unwanted."""

    item: int
    result: object | None = None
    error: FeatsvcError | None = None
    skipped: bool = False
    timing: ItemTiming | None = None
    """None where its preparation never began."""

    @property
    def has_result(self) -> bool:
        """Whether the worker has done all that was asked."""
        return self.error is None and not self.skipped

    def unread(self) -> Outcome:
        """What the pool gets where it has no room for this."""
        return Outcome(self.item, error=no_room(), timing=self.timing)


@dataclass(frozen=True)
class Progress:
    """What a worker says of a batch before that is answered."""

    batch: int


@dataclass(frozen=True)
class GoesOn(Progress):
    """A batch at work that short ones need not wait for."""

    computes: bool
    """Whether it is the thread that computes that says so: then nothing has hung there."""
    takes_s: float = 0.0
    """What it takes in all, about, and no less than it has taken; 0 where nobody knows yet."""


@dataclass(frozen=True)
class Computes(Progress):
    """Which batch computes from now on, where it is neither the last that was told of nor, that being answered, the
    oldest."""

    waiting: tuple[int, ...]
    """Others that are ready, or pause for it: they need not be timed."""


@dataclass(frozen=True)
class LoadReply:
    """The answer to Load or Unload; `done` is false when there was nothing to unload."""

    call: int
    error: FeatsvcError | None = None
    done: bool = True


ToWorker = Boot | RunBatch | Unread | Cancel | Load | Unload | Ping
FromWorker = (
    WorkerReady
    | Refused
    | WorkerModels
    | WorkerCaches
    | WorkerGpu
    | Outcome
    | GoesOn
    | Computes
    | LoadReply
    | Pong
)


def no_room() -> Overloaded:
    """What a caller is told where a process has no descriptors or memory for what comes or goes."""
    return Overloaded.within("the server has no memory or descriptors left for this at the moment")
