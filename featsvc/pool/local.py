"""The pool of worker processes on this machine."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from types import TracebackType
from typing import Any

from featsvc.errors import DeadlineExceeded, FeatsvcError, InvalidArgument, Unavailable
from featsvc.pool.job import Job
from featsvc.pool.messages import Cancel, Outcome
from featsvc.pool.scheduler import Scheduler
from featsvc.pool.settings import PoolSettings
from featsvc.pool.slot import Slot
from featsvc.pool.status import PoolStatus, WorkerState
from featsvc.pool.waiting import Batch, Entry

log = logging.getLogger("featsvc.pool.local")

MOST_DEATHS = 2
CLOSE_TIMEOUT_S = 10.0


class LocalPool:
    """A `Pool`; `async with` starts the workers, without waiting for them, and ends them."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._scheduler = Scheduler(settings)
        self._slots: tuple[Slot, ...] = ()
        self._open: set[Entry] = set()  # whose callers wait
        self._aboard: dict[int, tuple[Slot, Entry]] = {}
        self._ids = itertools.count(1)
        self._total_requests = 0
        self._draining = False
        self._alive = 0
        self._alive_changed = asyncio.Event()

    async def __aenter__(self) -> LocalPool:
        self._slots = tuple(
            Slot(index, self._settings, self) for index in range(len(self._settings.worker_devices))
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain(0)
        for slot in self._slots:
            slot.close()
        ends = [asyncio.create_task(slot.closed.wait()) for slot in self._slots]
        _, late = await asyncio.wait(ends, timeout=CLOSE_TIMEOUT_S)
        for end in late:
            end.cancel()
            log.error("a worker cannot be killed")

    async def run(self, job: Job) -> Any:  # Any: which result class it is follows from the operation
        """The result of the job. Cancelling the awaiting task cancels the job; raises FeatsvcError."""
        self._total_requests += 1
        self._check_open()
        now = time.monotonic()
        due = now + self._settings.assumed_deadline_s if job.deadline is None else job.deadline
        if job.deadline is not None and job.deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        loop = asyncio.get_running_loop()
        entry = Entry(next(self._ids), job, due, loop.create_future())
        self._scheduler.admit(entry, self._alive)
        self._open.add(entry)
        timers = [] if job.deadline is None else [loop.call_later(due - now, _expire, entry)]
        self._dispatch()
        if entry.ticket and job.affinity:
            timers.append(loop.call_later(self._settings.affinity_s, self._release, entry))
        try:
            return await entry.future
        finally:
            for timer in timers:
                timer.cancel()
            self._forget(entry)

    async def load(self, model: str, worker: int | None = None) -> None:
        """Load a model in one worker, or in all live ones."""
        self._check_open()
        if worker is not None and not 0 <= worker < len(self._slots):
            raise InvalidArgument(f"worker: {worker}, there are {len(self._slots)}, counted from 0")
        slots = [slot for slot in self._slots if slot.alive and worker in (None, slot.id)]
        if not slots:
            raise Unavailable("no worker is up to load the model; try again")
        await asyncio.gather(*(slot.load(model) for slot in slots))

    async def unload(self, model: str) -> int:
        """Drop a model everywhere once no batch uses it; the number of workers that had it."""
        self._check_open()
        return sum(await asyncio.gather(*(slot.unload(model) for slot in self._slots if slot.alive)))

    def status(self) -> PoolStatus:
        """How the workers and the queue are now."""
        waiting = self._scheduler.waiting
        workers = tuple(slot.status() for slot in self._slots)
        return PoolStatus(workers, waiting.count, waiting.nbytes, self._total_requests)

    async def alive_change(self, known: int = -1) -> int:
        """The number of live workers, as soon as it is another than `known`."""
        while self._alive == known:
            await self._alive_changed.wait()
        return self._alive

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, and finish what was admitted, for at most `grace_s`."""
        self._draining = True
        if self._open and grace_s > 0:
            await asyncio.wait([entry.future for entry in self._open], timeout=grace_s)
        for entry in self._open:
            _refuse(entry, Unavailable("the server shut down before this request was done"))

    def _check_open(self) -> None:
        if self._draining:
            raise Unavailable("the server is shutting down")
        if all(slot.state is WorkerState.FAILED for slot in self._slots):
            raise Unavailable("no worker can start; the server's log says why")

    def _release(self, entry: Entry) -> None:
        self._scheduler.release(entry)
        self._dispatch()

    def _dispatch(self) -> None:
        """Give every free slot of a live worker what it may take."""
        while self._scheduler.waiting.count and self._dispatch_one():
            pass

    def _dispatch_one(self) -> bool:
        alive = [slot for slot in self._slots if slot.alive]
        berths = [slot.berth for slot in alive]
        for slot in sorted(alive, key=lambda slot: (len(slot.berth.batches), len(slot.berth.models))):
            if batch := self._scheduler.next_batch(slot.berth, berths):
                self._aboard.update((entry.id, (slot, entry)) for entry in batch.entries.values())
                slot.carry(batch)
                return True
        return False

    def _forget(self, entry: Entry) -> None:
        """The caller has its answer, or has gone."""
        self._open.discard(entry)
        if entry.ticket:
            self._scheduler.waiting.remove(entry)
            self._dispatch()  # a suspect may have held workers back
        elif place := self._aboard.get(entry.id):
            place[0].send(Cancel(entry.id))

    # What the slots tell.

    def on_outcome(self, slot: Slot, outcome: Outcome) -> None:
        """Pass an answer to its caller, if there still is one."""
        _, entry = self._aboard.pop(outcome.item)
        if outcome.error:
            _refuse(entry, outcome.error)
        elif outcome.skipped:
            _expire(entry)
        elif not entry.future.done():
            entry.future.set_result(outcome.result)
        if batch := entry.batch:
            del batch.entries[entry.id]
            if not batch.entries:
                self._scheduler.close(slot.berth, batch)
            slot.delivered(batch)

    def on_change(self, slot: Slot) -> None:
        """Count the living, and use what a change makes possible."""
        alive = sum(slot.alive for slot in self._slots)
        if alive != self._alive:
            self._alive = alive
            self._alive_changed.set()
            self._alive_changed = asyncio.Event()
        if all(slot.state is WorkerState.FAILED for slot in self._slots):
            for entry in self._open:
                _refuse(entry, Unavailable("no worker can start; the server's log says why"))
        self._dispatch()

    def on_death(self, slot: Slot, batches: list[Batch]) -> None:
        """Queue what was on board once more, each to run alone; refuse what saw a death before."""
        for batch in batches:
            self._scheduler.close(slot.berth, batch)
            for entry in batch.entries.values():
                del self._aboard[entry.id]
                entry.deaths += 1
                if entry.future.done():
                    continue
                if entry.deaths >= MOST_DEATHS:
                    _refuse(entry, Unavailable("two workers died with this request on board: it is refused"))
                else:
                    self._scheduler.waiting.add(entry)
        self._scheduler.forget(slot.berth)
        self.on_change(slot)


def _refuse(entry: Entry, error: FeatsvcError) -> None:
    if not entry.future.done():
        entry.future.set_exception(error)


def _expire(entry: Entry) -> None:
    _refuse(entry, DeadlineExceeded("the deadline passed before the work was done"))
