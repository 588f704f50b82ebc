"""The pool: callers wait here, the scheduler says what goes where, and handles hold the workers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from featsvc.errors import ContentWanted, DeadlineExceeded, FeatsvcError, Unavailable
from featsvc.pool.contract.job import AnyJob, Job, JobEstimate, R
from featsvc.pool.contract.messages import Cancel, Computes, GoesOn, Outcome, RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import PoolStatus
from featsvc.pool.contract.worker import Spawn
from featsvc.pool.scheduling.deaths import Deaths, expire, refuse
from featsvc.pool.scheduling.queue import QueueEntry, open_jobs_of
from featsvc.pool.scheduling.scheduler import Scheduler
from featsvc.pool.workers.elastic import Elastic
from featsvc.pool.workers.handle import WorkerHandle
from featsvc.pool.workers.members import NONE_STARTS, Members

if TYPE_CHECKING:
    # Checks of settings take a tenth of a second to import.
    from featsvc.work.caller import Caller

log = logging.getLogger("featsvc.pool.workers.pool")


class WorkerPool:
    """A `Pool`; `async with` starts a worker for each device, without waiting for them, and ends them.

    Workers may be added and removed while it runs.
    """

    def __init__(self, settings: PoolSettings, spawn: Spawn) -> None:
        self._settings = settings
        self._spawn = spawn
        self._workers: Members
        self._elastic: Elastic
        self._scheduler = Scheduler(settings)
        self._callers: set[QueueEntry] = set()
        self._deaths = Deaths(settings, self._scheduler, self._callers)
        self._ids = itertools.count(1)
        self._total_requests = 0
        self._draining = False
        self._emptied: dict[int, asyncio.Event] = {}  # of workers that are being removed

    async def __aenter__(self) -> WorkerPool:
        self._workers = Members(self._settings, self._spawn, self)
        for device in self._settings.worker_devices:
            self.add_worker(device)
        self._elastic = Elastic(self._settings, self, self._scheduler, self._workers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._elastic.end()
        await self.drain(0)
        await asyncio.gather(*(self._workers.end(worker) for worker in self._workers))

    async def run(self, job: Job[R]) -> R:
        """The result of the job. Cancelling the awaiting task cancels the job; raises FeatsvcError."""
        self._total_requests += 1
        entry = await self._entry(job)
        loop = asyncio.get_running_loop()
        for other, error in self._scheduler.admit(entry, self._workers.alive_count):
            refuse(other, error)
        self._callers.add(entry)
        left_s = entry.due - time.monotonic()
        deadline = None if job.deadline is None else loop.call_later(left_s, expire, entry)
        try:
            self._dispatch()
            self._release_later(entry)
            result: R = await entry.future
            return result
        finally:
            if deadline:
                deadline.cancel()
            self._leave(entry)
            # Or its future's error would hold this frame, and that the job, until the garbage collector runs.
            del entry

    async def _entry(self, job: AnyJob) -> QueueEntry:
        """The job as it is to be queued; raises what refuses it whatever waits."""
        await self._deaths.quarantine.check(job)
        self._check_open()
        now = time.monotonic()
        if job.deadline is not None and job.deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        due = now + self._settings.assumed_deadline_s if job.deadline is None else job.deadline
        return QueueEntry(next(self._ids), job, due, asyncio.get_running_loop().create_future())

    async def estimate(self, job: AnyJob) -> JobEstimate:
        """What the job would cost, and how long it would wait; raises what `run` does but for want of room."""
        return self._scheduler.forecast.of(await self._entry(job), self._workers.taking)

    def check_room(self, caller: Caller, nbytes: int, announced: int) -> None:
        """Raises Overloaded where a job would find no place now, with so many bytes and jobs that were announced."""
        self._scheduler.limits.check_room(caller, nbytes, announced, self._workers.alive_count)

    def batch_bytes(self) -> int:
        """Bytes that the next batches of all live workers may have together; of one where none lives."""
        return self._settings.max_batch_bytes * max(1, self._workers.alive_count)

    async def load(self, model: str, worker: int | None = None) -> None:
        """Load a model in one worker, or in all live ones."""
        self._check_open()
        await asyncio.gather(*(each.load(model) for each in self._workers.loading(worker)))

    async def unload(self, model: str) -> int:
        """Drop a model everywhere once no batch uses it; the number of workers that had it."""
        self._check_open()
        return sum(await asyncio.gather(*(each.unload(model) for each in self._workers.alive)))

    def status(self) -> PoolStatus:
        """How the workers and the queue are now."""
        workers = tuple(worker.status() for worker in self._workers)
        queue, count, open_jobs = self._scheduler.queue, len(self._callers), open_jobs_of(self._callers)
        return PoolStatus(workers, queue.count, queue.nbytes, self._total_requests, count, open_jobs)

    async def alive_change(self, last: int = -1) -> int:
        """The number of live workers, as soon as it is another than `last`."""
        return await self._workers.alive_change(last)

    async def news(self, last: int = -1) -> int:
        """A number that is another than `last`, as soon as workers have died or come, or models failed to load."""
        return await self._workers.news(last)

    async def cannot_work(self) -> FeatsvcError:
        """Why no worker will ever start here, when that is so; until then it waits."""
        return await self._workers.cannot_work()

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, and finish what was admitted, for at most `grace_s`."""
        self._draining = True
        if self._callers and grace_s > 0:
            await asyncio.wait([entry.future for entry in self._callers], timeout=grace_s)
        for entry in self._callers:
            refuse(entry, Unavailable("the server shut down before this request was done"))

    # The set of workers.

    def add_worker(self, device: str, preload: tuple[str, ...] = ()) -> int:
        """Start one more worker, without waiting for it; its number, which no other ever has.

        It loads what is to be preloaded, and these models too, before it takes work.
        """
        number = self._workers.new_number()
        self._scheduler.add_worker(number)
        self._workers.start(number, device, preload)
        return number

    async def remove_worker(self, number: int, grace_s: float) -> None:
        """Give a worker nothing more, and end it when it has completed what it has, after `grace_s` at the latest.

        What it still has then goes to others. Raises KeyError where there is no such worker.
        """
        worker = self._workers[number]
        worker.retire()
        self._scheduler.retire_worker(number)
        self._recount()  # what waited for it may go elsewhere now
        emptied = self._emptied.setdefault(number, asyncio.Event())
        self._note_emptied(worker)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(emptied.wait(), grace_s)
        finally:  # who calls may be cancelled, and the worker is of no use any more
            await self._workers.end(worker)
            # Others may have removed it meanwhile.
            if self._workers.remove(number):
                self._requeue_from(worker, is_its_own=False)
                self._scheduler.remove_worker(number)
                del self._emptied[number]
                self._recount()

    def _check_open(self) -> None:
        if self._draining:
            raise Unavailable("the server is shutting down")
        self._workers.check_hope()

    def _recount(self) -> None:
        """Count the living, and use what a change makes possible."""
        self._workers.recount()
        if self._workers.are_hopeless:
            for entry in self._callers:
                refuse(entry, Unavailable(NONE_STARTS))
        self._dispatch()

    # From the queue to a worker.

    def _dispatch(self) -> None:
        """Give every free place of a live worker what it may take."""
        while self._scheduler.queue.count and self._dispatch_one():
            pass

    def _dispatch_one(self) -> bool:
        if (batch := self._scheduler.dispatch(self._workers.taking)) is None:
            return False
        worker = self._workers[batch.worker]
        try:
            worker.dispatch(*batch.message())
        except Exception:  # a defect: the batch must not stay with a worker that never saw it
            log.exception("a batch cannot be handed to worker %s: it is killed", worker.id)
            worker.kill()
        return True

    def _release_later(self, entry: QueueEntry) -> None:
        """Let an entry wait for the worker that knows its picture, but not longer than it should."""
        if entry.is_waiting and entry.job.affinity:
            loop = asyncio.get_running_loop()
            entry.release = loop.call_later(self._settings.affinity_s, self._release, entry)

    def _release(self, entry: QueueEntry) -> None:
        if entry.is_waiting:
            self._scheduler.release(entry)
            self._dispatch()

    def _leave(self, entry: QueueEntry) -> None:
        """The caller has its answer, or has gone."""
        self._callers.discard(entry)
        if entry.release:
            entry.release.cancel()
        if entry.is_waiting:
            self._scheduler.queue.remove(entry)
            self._dispatch()  # a suspect may have held workers back
        elif entry.batch:
            self._workers[entry.batch.worker].send(Cancel(entry.id))

    # What the workers tell.

    def on_outcome(self, worker: WorkerHandle, outcome: Outcome) -> None:
        """Pass an answer to its caller, if there still is one."""
        if (entry := self._scheduler.entry(outcome.item)) is None:
            return  # answered already, as what could not be sent
        if isinstance(outcome.error, ContentWanted) and not entry.is_wanted_whole:
            self._scheduler.resend(entry)
            if entry.future.done():
                self._scheduler.queue.remove(entry)
            self._release_later(entry)
            worker.watch()
            self._note_emptied(worker)
            return
        entry.note(worker.id, worker.record.precision, outcome)
        if outcome.error:
            refuse(entry, outcome.error)
        elif outcome.skipped:
            expire(entry)
        elif not entry.future.done():
            entry.future.set_result(outcome.result)
        if outcome.timing and outcome.has_result:
            self._scheduler.forecast.note_answer(entry, outcome.timing.result_bytes)
        cost_s = outcome.timing and outcome.timing.cost_s
        worker.count(self._scheduler.completed(entry, cost_s, has_result=outcome.has_result))
        worker.watch()
        self._note_emptied(worker)

    def on_models(self, worker: WorkerHandle, models: frozenset[str]) -> None:
        """Prefer workers that have a model."""
        self._scheduler.set_models(worker.id, models)

    def on_progress(self, worker: WorkerHandle, message: GoesOn | Computes) -> None:
        """Let short work run beside a batch that takes long, and time the one that computes."""
        self._scheduler.note_progress(worker.id, message)

    def on_change(self, worker: WorkerHandle) -> None:
        """Count the living, and use what a change makes possible."""
        self._recount()

    def on_room(self, worker: WorkerHandle) -> None:
        """Use what is possible; a count looks at every worker, and answers come all the time."""
        self._dispatch()

    def on_refusal(self, worker: WorkerHandle, error: FeatsvcError) -> None:
        """Tell who waits for `cannot_work`, where none can work."""
        self._workers.refuse(worker, error)

    def left_s(self, worker: WorkerHandle) -> float | None:
        """Seconds that what a worker has in flight may still take."""
        return self._scheduler.left_s(worker.id)

    def on_unsent(self, worker: WorkerHandle, batch: RunBatch, error: FeatsvcError) -> None:
        """Refuse what never reached the worker."""
        self._deaths.unsent(batch, error)
        worker.watch()
        self._note_emptied(worker)

    def on_overdue(self, worker: WorkerHandle) -> None:
        """Refuse what has taken too long."""
        self._deaths.too_long(worker.id)

    def on_death(self, worker: WorkerHandle, is_its_own: bool) -> None:
        """Queue once more what the worker had."""
        self._requeue_from(worker, is_its_own)
        self._note_emptied(worker)
        self._recount()

    def on_defect(self, worker: WorkerHandle) -> None:
        """Refuse what nobody can say where it is."""
        self._deaths.defect(worker.id)
        self._recount()

    def _requeue_from(self, worker: WorkerHandle, is_its_own: bool) -> None:
        for entry in self._deaths.died(worker.id, is_its_own):
            self._release_later(entry)

    def _note_emptied(self, worker: WorkerHandle) -> None:
        if worker.id in self._emptied and not self._scheduler.in_flight(worker.id).batches:
            self._emptied[worker.id].set()
