"""One worker from start to start: watched, ended, restarted. It knows processes and times, and not what waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec

from featsvc.errors import FeatsvcError, TookTooLong
from featsvc.pool.contract.messages import (
    Boot,
    FromWorker,
    LoadReply,
    Outcome,
    Ping,
    Pong,
    Progress,
    Refused,
    RunBatch,
    ToWorker,
    Unload,
    WorkerCaches,
    WorkerGpu,
    WorkerModels,
    WorkerReady,
    no_room,
)
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState, WorkerStatus
from featsvc.pool.contract.worker import Description, Spawn, Worker
from featsvc.pool.transport.descriptors import is_no_room
from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.pool.workers.calls import OpenCalls
from featsvc.pool.workers.heartbeat import LOOK_S, Heartbeat
from featsvc.pool.workers.observer import Observer
from featsvc.pool.workers.record import Record
from featsvc.pool.workers.restarts import NextStart, Restarts

log = logging.getLogger("featsvc.pool.workers.handle")
P = ParamSpec("P")
KILL_TIMEOUT_S = 10.0  # who has not ended so long after SIGKILL is in a call of the kernel that does not end
CHANGES = (WorkerReady, WorkerModels)
"""After these the worker is counted anew."""
UNSENDABLE = FeatsvcError("this request cannot be sent to a worker; the server's log says why")


class WorkerHandle:
    """A worker as the pool holds it, whichever process it is. Construct it in a running loop: it starts soon after."""

    def __init__(
        self, id: int, device: str, settings: PoolSettings, spawn: Spawn, observer: Observer
    ) -> None:
        self.id = id
        self.state = WorkerState.STARTING
        self.closed = asyncio.Event()
        self._device = device
        self._settings = settings
        self._spawn = spawn
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self.record = Record()
        self._restarts = Restarts(id, settings)
        self._closing = self._is_lost = self._is_blameless = False
        self._calls = OpenCalls(self.send)
        self._worker: Worker | None = None
        self._hanging: Worker | None = None  # of which the log has told
        self._heart = Heartbeat(lambda: self.send(Ping()), settings.heartbeat_timeout_s)
        self._look_again = self._loop.call_later(LOOK_S, self._guarded, self._look_after)
        # One timer at a time: the pause before a start, the start, or what is at work.
        self._timer: asyncio.TimerHandle | None = None
        self._set_timer(0, self._start)

    @property
    def alive(self) -> bool:
        """Whether it takes work."""
        return self.state is WorkerState.READY and not self._restarts.is_last

    @property
    def is_given_up(self) -> bool:
        """Whether it cannot start, and no other process follows."""
        return self.state is WorkerState.FAILED and self._timer is None and self._worker is None

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer, so that other workers are better asked."""
        return self._heart.is_silent

    @property
    def is_loading(self) -> bool:
        """Whether somebody waits for a model that it loads or drops."""
        return self._calls.are_open

    def status(self) -> WorkerStatus:
        """How it is now."""
        process = self._worker.describe() if self._worker else Description(None)
        state = WorkerState.BUSY if self._is_at_work() else self.state
        return self.record.status(self.id, process, self._device, state)

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Pass a message on, if there is a process to take it."""
        if self._worker:
            self._worker.send(message, large)

    def dispatch(self, batch: RunBatch, nbytes: int) -> None:
        """Send a batch, which holds so many bytes."""
        self.send(batch, large=nbytes >= LARGE_BYTES)
        self.watch()

    def count(self, batches: int) -> None:
        """Take note that an item is answered, and perhaps with it a batch."""
        self.record.items += 1
        self.record.batches += batches
        if batches:
            self._restarts.did_work()

    def watch(self) -> None:
        """Time what is at work; to be called where that is another batch, or its time begins anew."""
        left_s = self._observer.left_s(self)
        if left_s is None:
            return
        if left_s <= 0:
            self._observer.on_overdue(self)
            self._hung()
        # A timer that fires too early looks again: cheaper than a new one for every answer.
        elif self._timer is None or self._timer.when() > self._loop.time() + left_s:
            self._set_timer(left_s, self._look)

    async def load(self, model: str) -> None:
        """Load a model in this worker; raises TookTooLong where that does not end."""
        try:
            await self._calls.load(model, self._settings.load_timeout_s)
        except TookTooLong:
            self._is_blameless = True  # what else is in flight has nothing to do with it
            self._hung()
            raise

    async def unload(self, model: str) -> bool:
        """Drop a model from this worker; false if it had none such."""
        return await self._calls.ask(Unload, model)

    def retire(self) -> None:
        """Start the worker no more once it has ended."""
        self._restarts.is_last = True

    def close(self) -> None:
        """End the worker for good; `closed` is set when nothing of it is left."""
        self._closing = True
        self._cancel_timer()
        self._look_again.cancel()
        if self._worker:
            self._worker.kill()
        else:
            self.closed.set()

    def on_messages(self, messages: list[FromWorker]) -> None:
        """Take what the worker says, and use what that makes possible."""
        if not (self._closing or self._is_lost):
            self._guarded(self._take_all, messages)

    def kill(self) -> None:
        """End this process; what is in flight goes to the next."""
        if self._worker:
            self._worker.kill()
            self._loop.call_later(KILL_TIMEOUT_S, self._guarded, self._give_up, self._worker)

    def _take_all(self, messages: list[FromWorker]) -> None:
        self._heart.heard()
        for message in messages:
            self._take(message)
        is_changed = any(isinstance(each, CHANGES) for each in messages)
        (self._observer.on_change if is_changed else self._observer.on_room)(self)

    def _guarded(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """What the event loop would only log also ends the worker, so that nobody waits for what was not done."""
        try:
            act(*args, **kwargs)
        except Exception:  # a defect of the pool, whatever it is
            log.exception("a defect of the pool: worker %s is killed for it", self.id)
            self.kill()

    def _take(self, message: FromWorker) -> None:
        match message:
            case Outcome():
                self._observer.on_outcome(self, message)
            case WorkerModels():
                self.record.note(message)
                self._observer.on_models(self, frozenset(model.name for model in message.models))
                self.watch()
            case WorkerCaches() | WorkerGpu():
                self.record.note(message)
            case Progress():
                self._observer.on_progress(self, message)
                self.watch()
            case WorkerReady():
                self._ready(message)
            case LoadReply():
                self._calls.settle(message)
            case Refused():
                self._restarts.is_refused = True
                self._observer.on_refusal(self, message.error)
            case Pong():
                pass

    def on_unsendable(self, message: ToWorker, error: Exception) -> None:
        """Answer for the worker what it never saw."""
        if isinstance(message, RunBatch):
            self._guarded(self._tell_unsent, message, no_room() if is_no_room(error) else UNSENDABLE)

    def _tell_unsent(self, batch: RunBatch, error: FeatsvcError) -> None:
        self._observer.on_unsent(self, batch, error)
        self._observer.on_room(self)

    def on_lost(self, blameless: bool = False) -> None:
        """The process is of no use any more: settle what was in flight; its end brings the next."""
        if not (self._closing or self._is_lost):
            self._is_lost, self._is_blameless = True, self._is_blameless or blameless
            self._settle(lambda: self._restarts.after_loss(self.state))

    def on_exit(self, returncode: int, blameless: bool = False) -> None:
        """The process is gone: settle what was in flight, and start again after a pause."""
        self._worker, self._is_lost, self._is_blameless = None, False, self._is_blameless or blameless
        try:
            self._settle(lambda: self._restarts.after_exit(self.state, returncode))
        finally:
            self._is_blameless = False
            if self._closing:
                self.closed.set()

    def _settle(self, next_start: Callable[[], NextStart]) -> None:
        is_its_own = not (self._heart.was_stopped or self._is_blameless)
        is_planned = self._closing
        try:
            self._heart.heard()
            self.record.forget()
            self._cancel_timer()
            self._calls.break_off()
            if not self._closing:
                self._plan(next_start())
                is_planned = True
                self._observer.on_death(self, is_its_own)
        except Exception:  # a defect of the pool, whatever it is
            log.critical("a defect of the pool: work of worker %s is given up", self.id, exc_info=True)
            if not is_planned:
                self._plan(self._restarts.after_defect(self._worker is not None))
            self._observer.on_defect(self)

    def _give_up(self, worker: Worker) -> None:
        """Take a process for dead that cannot be killed, as while its driver hangs; its end brings the next."""
        if worker is self._worker and not (self._closing or self._is_lost):
            log.error("worker cannot be killed: others do its work", extra={"worker": self.id})
            self.on_lost()

    def _start(self) -> None:
        if not self._restarts.are_in_vain:
            self.state = WorkerState.STARTING
        self.record.starts += 1
        try:
            self._worker = self._spawn(Boot.of(self.id, self._device, self._settings), self)
        except Exception as error:  # no memory, processes, threads or descriptors left: as if it had died
            log.error("worker cannot be started: %s", error, extra={"worker": self.id})
            self._plan(self._restarts.again(self.state))
            self._observer.on_change(self)
            return
        log.info("worker starts", extra={"worker": self.id, "device": self._device})
        self._set_timer(self._settings.start_timeout_s, self._hung)

    def _ready(self, message: WorkerReady) -> None:
        self._restarts.was_born()
        self.state = WorkerState.READY
        self._cancel_timer()
        failed = self.record.ready(message)
        pid = self._worker.describe().pid if self._worker else None
        log.info("worker is ready", extra={"worker": self.id, "pid": pid, "failed_models": failed})

    def _plan(self, start: NextStart) -> None:
        self.state = start.state
        if start.delay_s is not None:
            self._set_timer(start.delay_s, self._start)

    def _is_at_work(self) -> bool:
        return self.state is WorkerState.READY and self._observer.left_s(self) is not None

    def _look(self) -> None:
        self._timer = None
        self.watch()

    def _look_after(self) -> None:
        """Whether the worker answers."""
        self._look_again = self._loop.call_later(LOOK_S, self._guarded, self._look_after)
        is_awaited = self._is_at_work() or self._calls.are_open
        if (worker := self._worker) and self._heart.is_lost(
            worker, is_starting=self.state is not WorkerState.READY, is_awaited=is_awaited
        ):
            self._hung()

    def _hung(self) -> None:
        if self._worker is not self._hanging:  # some take a while to end, and it is looked after all the time
            log.error("worker hangs and is killed", extra={"worker": self.id, "state": self.state})
            self._hanging = self._worker
        self.kill()

    def _set_timer(self, delay_s: float, act: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay_s, self._guarded, act)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
