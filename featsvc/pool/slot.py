"""One worker through all its lives: start, watch, restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from featsvc.errors import FeatsvcError
from featsvc.pool.boot import boot_of
from featsvc.pool.calls import Calls
from featsvc.pool.frames import LARGE_BYTES
from featsvc.pool.lives import Lives
from featsvc.pool.messages import (
    Caches,
    Cargo,
    FromWorker,
    Load,
    Models,
    Outcome,
    Ready,
    Reply,
    RunBatch,
    ToWorker,
    Unload,
)
from featsvc.pool.scheduler import Berth
from featsvc.pool.settings import PoolSettings
from featsvc.pool.status import CacheStatus, LoadedModel, WorkerState, WorkerStatus
from featsvc.pool.waiting import Batch
from featsvc.pool.worker_process import WorkerProcess

log = logging.getLogger("featsvc.pool.slot")


class Dock(Protocol):
    """Who takes what a worker delivers."""

    def on_outcome(self, slot: Slot, outcome: Outcome) -> None:
        """An item on board is answered."""

    def on_change(self, slot: Slot) -> None:
        """The worker said something, or is given up: other batches may be possible now."""

    def on_death(self, slot: Slot, batches: list[Batch]) -> None:
        """The worker died with these batches on board."""


class Slot:
    """A place for one worker process. Construct it in a running loop: it starts soon after."""

    def __init__(self, index: int, settings: PoolSettings, dock: Dock) -> None:
        self.id = index
        self.berth = Berth(index)
        self.state = WorkerState.STARTING
        self.closed = asyncio.Event()
        self._batches = self._items = 0
        self._device = settings.worker_devices[index]
        self._settings = settings
        self._dock = dock
        self._loop = asyncio.get_running_loop()
        self._models: tuple[LoadedModel, ...] = ()
        self._caches: tuple[CacheStatus, ...] = ()
        self._failed_preloads: tuple[str, ...] = ()
        self._starts = 0
        self._lives = Lives(settings)
        self._closing = False
        self._calls = Calls(self.send)
        self._process: WorkerProcess | None = None
        # One timer at a time: the pause before a start, the start, or the oldest batch on board.
        self._timer: asyncio.TimerHandle | None = None
        self._set_timer(0, self._start)

    @property
    def alive(self) -> bool:
        """Whether it takes work."""
        return self.state is WorkerState.READY

    def status(self) -> WorkerStatus:
        """How it is now."""
        return WorkerStatus(
            id=self.id,
            pid=self._process.pid if self._process else None,
            device=self._device,
            state=WorkerState.BUSY if self.alive and self.berth.batches else self.state,
            models=self._models,
            failed_preloads=self._failed_preloads,
            batches=self._batches,
            items=self._items,
            restarts=max(0, self._starts - 1),
            caches=self._caches,
        )

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Pass a message on, if there is a process to take it."""
        if self._process:
            self._process.send(message, large)

    def carry(self, batch: Batch) -> None:
        """Send a batch that is in the berth."""
        cargo = tuple(
            Cargo(entry.id, entry.job.request_id, entry.job.item, entry.job.deadline)
            for entry in batch.entries.values()
        )
        job, nbytes = batch.job, sum(entry.job.nbytes for entry in batch.entries.values())
        message = RunBatch(batch.id, job.operation, job.model, job.params, cargo)
        self.send(message, large=nbytes >= LARGE_BYTES)
        self._watch_loads()

    def delivered(self, batch: Batch) -> None:
        """Take note that an item of a batch is answered: its time, or the next batch's, begins anew."""
        self._items += 1
        if not batch.entries:
            self._batches += 1
            self._lives.did_work()
        batch.watched_since = None
        self._watch()

    async def load(self, model: str) -> None:
        """Load a model in this worker."""
        await self._calls.ask(Load, model)

    async def unload(self, model: str) -> bool:
        """Drop a model from this worker; false if it had none such."""
        return await self._calls.ask(Unload, model)

    def close(self) -> None:
        """End the worker for good; `closed` is set when nothing of it is left."""
        self._closing = True
        self._cancel_timer()
        if self._process:
            self._process.kill()
        else:
            self.closed.set()

    def on_messages(self, messages: list[FromWorker]) -> None:
        """Take what the worker says, and use what that makes possible."""
        if self._closing:
            return
        for message in messages:
            self._take(message)
        self._dock.on_change(self)

    def _take(self, message: FromWorker) -> None:
        match message:
            case Outcome():
                self._dock.on_outcome(self, message)
            case Models():
                self._models = message.models
                self.berth.models = frozenset(model.name for model in message.models)
                self._watch_loads()
            case Caches():
                self._caches = message.caches
            case Ready():
                self._ready(message)
            case Reply():
                self._calls.settle(message)

    def on_unsendable(self, message: ToWorker) -> None:
        """Answer for the worker what it never saw."""
        if isinstance(message, RunBatch):
            for cargo in message.items:
                error = FeatsvcError("this request cannot be sent to a worker; the server's log says why")
                self._dock.on_outcome(self, Outcome(cargo.id, error=error))
            self._dock.on_change(self)

    def on_exit(self, returncode: int) -> None:
        """The process is gone: settle what was on board, and start again unless that is hopeless."""
        self._process, self._models, self._caches, self.berth.models = None, (), (), frozenset()
        self._cancel_timer()
        self._calls.break_off()
        if self._closing:
            self.closed.set()
            return
        log.error("worker died", extra={"worker": self.id, "returncode": returncode})
        self._plan_restart()
        self._dock.on_death(self, list(self.berth.batches.values()))

    def _start(self) -> None:
        self.state = WorkerState.STARTING
        self._starts += 1
        try:
            self._process = WorkerProcess(boot_of(self.id, self._settings), self._settings, self)
        except OSError:  # no memory, processes or descriptors left: as if it had died
            log.exception("worker cannot be started", extra={"worker": self.id})
            self._plan_restart()
            self._dock.on_change(self)
            return
        log.info("worker starts", extra={"worker": self.id, "pid": self._process.pid, "device": self._device})
        self._set_timer(self._settings.start_timeout_s, self._hung)

    def _ready(self, message: Ready) -> None:
        self._failed_preloads = message.failed_preloads
        self._lives.was_born()
        self.state = WorkerState.READY
        self._cancel_timer()
        log.info("worker is ready", extra={"worker": self.id, "failed_preloads": message.failed_preloads})

    def _plan_restart(self) -> None:
        delay_s = self._lives.restart_delay_s()
        if delay_s is None:
            self.state = WorkerState.FAILED
            log.critical(
                "worker given up, too many starts failed: mend the cause above, then restart the server",
                extra={"worker": self.id},
            )
        else:
            self.state = WorkerState.DEAD
            self._set_timer(delay_s, self._start)

    def _watch_loads(self) -> None:
        """Note for each batch on board since when its model is there, and time the oldest."""
        now = time.monotonic()
        for batch in self.berth.batches.values():
            if (batch.job.model in self.berth.models) != (batch.began_at is not None):
                batch.began_at = now if batch.began_at is None else None
                batch.watched_since = None
        self._watch()

    def _watch(self) -> None:
        """Time the oldest batch on board; the others wait for it."""
        batch = next(iter(self.berth.batches.values()), None)
        if batch is None:
            return
        now, s = time.monotonic(), self._settings
        batch.watched_since = batch.watched_since or now
        # A load may be a download.
        limit_s = s.load_timeout_s if batch.began_at is None else s.batch_timeout_s * len(batch.entries)
        left_s = batch.watched_since + limit_s - now
        if left_s <= 0:
            self._hung()
        # A timer that fires too early looks again: cheaper than a new one for every answer.
        elif self._timer is None or self._timer.when() > self._loop.time() + left_s:
            self._set_timer(left_s, self._look)

    def _look(self) -> None:
        self._timer = None
        self._watch()

    def _hung(self) -> None:
        log.error("worker hangs and is killed", extra={"worker": self.id, "state": self.state})
        if self._process:
            self._process.kill()

    def _set_timer(self, delay_s: float, act: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay_s, act)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
