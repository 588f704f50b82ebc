"""Every limit of the pool in one frozen value; the server settings fill it."""

from __future__ import annotations

import os
from dataclasses import dataclass

MIB = 1024 * 1024
AUTO_MODEL_BYTES = 8 * 1024 * MIB
AUTO_MODEL_SHARE = 0.6
"""Of a GPU's memory, for the models of all its workers: the rest is for passes and kept pictures."""


@dataclass(frozen=True)
class Share:
    """What a worker of a cluster has of its machine."""

    cpus: float
    gpus: float

    @property
    def device(self) -> str:
        """As the worker calls what it computes on: Ray shows it only its own GPU."""
        return "cuda:0" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Cores that are its own."""
        return max(1, int(self.cpus))

    @property
    def workers_on_gpu(self) -> int:
        """How many share a GPU."""
        return round(1 / self.gpus) if 0 < self.gpus < 1 else 1


@dataclass(frozen=True)
class PoolSettings:
    """How many workers there are, what they run, and how much they may take on."""

    devices: tuple[str, ...] = ("cpu",)
    """One entry per device; workers get as `EngineOptions.device` what torch calls it."""

    workers_per_device: int = 1
    """Worker processes for each device."""

    most_workers: int = 0
    """So many may there be where work waits, each on the first device; 0 is those of the devices, always."""

    backlog_s: float = 1.0
    """Seconds of work, as predicted, that must wait for a further worker to start; twice as much starts two."""

    idle_s: float = 60.0
    """After so long without need for a worker one ends."""

    engines: str = "featsvc.engines.registry:build"
    """Import path of the function that builds the engines in a worker."""

    engine_options: object | None = None
    """A picklable frozen dataclass with fields `device` and `threads`, which the pool fills per worker."""

    threads: int = 0
    """Compute threads per worker; 0 shares the machine's cores out among the workers."""

    worker_template: bool = True
    """Whether workers are forked from a process that has imported their engines, where this system can do that."""

    prepare_threads: int = 0
    """Threads of a worker that decode pictures while the device computes; 0 shares the cores out for GPUs."""

    slots: int = 0
    """Batches in flight at a worker at once: one computes, the others are being prepared; 0 is as many as there are
    threads to prepare them, within max_concurrency."""

    max_batch_items: int = 8
    """Most items in one batch."""

    max_batch_bytes: int = 48 * MIB
    """Most bytes in one batch, but for one item that is larger: a worker keeps the memory that it once took."""

    max_batch_pixels: int = 16 * MIB
    """Budget of one forward pass, in the unit of `WorkerEngines.pixels`; halved when memory runs out."""

    regrow_after_s: float = 600.0
    """After so long without a lack of memory a forward pass is tried that is larger than what memory had taught; after
    twice as long, each time that it lacks memory again."""

    give_back_after_s: float = 30.0
    """After so long without work, or up to twice as long, a worker gives the memory that it has freed back to the
    system; 0 for never."""

    max_concurrency: int = 4
    """Batches of one family on one worker at once."""

    max_queued: int = 256
    """Most jobs waiting for a worker."""

    max_queued_bytes: int = 512 * MIB
    """Most bytes held by waiting jobs."""

    assumed_deadline_s: float = 300.0
    """Urgency of a job that has no deadline: as if it had this one."""

    affinity_s: float = 1.0
    """Head start of jobs whose model or picture a worker has over jobs for which it must load or encode one;
    and how long a job waits for the worker that has its picture before another may take it."""

    preload: tuple[str, ...] = ()
    """Models that every worker loads before it counts as alive."""

    model_memory_bytes: int | None = 0
    """Budget for models in one worker; 0 sets no limit, and None is AUTO_MODEL_BYTES, or of a GPU AUTO_MODEL_SHARE."""

    max_models: int = 0
    """Most models in one worker; 0 sets no limit."""

    batch_timeout_s: float = 300.0
    """A batch that takes longer than this for each open item has hung: its worker is killed, and the item refused."""

    quarantine_s: float = 600.0
    """An item that was refused because of what it did to workers is refused at once for this long; 0 for never."""

    load_timeout_s: float = 1800.0
    """A model load on the way to a batch may take this long, a download included."""

    heartbeat_timeout_s: float = 30.0
    """A worker that does not even say that it lives, for this long, is killed."""

    start_timeout_s: float = 1800.0
    """A worker may take this long to start, preloading included."""

    restart_delay_s: float = 0.1
    """Pause before a worker that died young starts again; doubles each time."""

    max_restart_delay_s: float = 30.0
    """Longest pause before a restart."""

    may_move: bool = False
    """Whether the next process of a worker may run on another machine, so that it is tried where one was refused."""

    reserved_descriptors: int = 32
    """Open files that are kept for workers and their messages, whatever else this process opens."""

    healthy_after_s: float = 30.0
    """A worker that lived this long did not die young."""

    max_failed_starts: int = 5
    """Starts in a row that may fail before jobs no longer wait for the worker; it is tried again all the same."""

    log_level: str = "INFO"
    """Level of the workers' logs."""

    log_format: str = "auto"
    """Form of their lines: json, plain, or auto, which is plain on a terminal."""

    def __post_init__(self) -> None:
        least_one = ("workers_per_device", "max_batch_items", "max_batch_bytes",
                     "max_batch_pixels", "max_concurrency", "max_queued", "max_queued_bytes",
                     "max_failed_starts")  # fmt: skip
        for name in least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}, at least 1")
        if not self.devices:
            raise ValueError("devices: empty, at least one such as 'cpu'")

    def most_items(self, per_picture: int) -> int:
        """Most items in a batch, of which so many cost a GPU about as much as one with a picture.

        A CPU gains nothing beyond the first few, and is kept busier by batches that come one after the other.
        """
        return self.max_batch_items * (1 if self._has_only_cpus else per_picture)

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """The device of each worker, in order of worker id."""
        return tuple(device for device in self.devices for _ in range(self.workers_per_device))

    @property
    def threads_per_worker(self) -> int:
        """Cores shared out: more threads than cores spin against each other and are many times slower."""
        return self.threads or max(1, self._cores_per_worker)

    @property
    def prepare_threads_per_worker(self) -> int:
        """Two at least; beside a GPU all of the worker's cores, which have nothing else to do."""
        return self.prepare_threads or (2 if self._has_only_cpus else max(2, self._cores_per_worker))

    @property
    def slots_per_worker(self) -> int:
        """Two at least: while one batch computes the next is prepared.

        Beside a GPU three, for the one before is still being written, and more where those after it can be prepared.
        """
        if self._has_only_cpus:
            return self.slots or 2
        return self.slots or max(3, min(self.prepare_threads_per_worker, self.max_concurrency))

    @property
    def _has_only_cpus(self) -> bool:
        return set(self.devices) == {"cpu"}

    @property
    def _cores_per_worker(self) -> int:
        return _cores() // len(self.worker_devices)


def _cores() -> int:
    """Cores that this process may use; only Linux tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
