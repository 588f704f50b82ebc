"""What becomes of the work of a worker that fails, from the least to the worst. This file is the whole policy.

1. A message cannot be sent to it: its items are refused, the worker lives on.
2. It has lost what it knew of a picture: the item is queued again and sent whole; no failure.
3. A batch takes too long, and the worker is killed for it: the one that computes, or the oldest while it is prepared.
   What waits for another has no time that runs. A load: its items are refused. A single item that is certainly what the
   worker is at: that is refused for good. Else nobody knows which it was, so the death that follows makes suspects of
   all.
4. It dies. Everything in flight is queued again. If the death was its own doing each item is a suspect from then on and
   runs alone; an item that has seen two deaths is refused for good. If a signal had stopped it, nobody is a suspect.
5. Its end could not be handled, by a defect of ours: all that it had is refused.

Refused for good means: so is who asks the same, those that wait by now and those that come while the quarantine lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from featsvc.errors import DeadlineExceeded, FeatsvcError, KilledWorkers, TookTooLong
from featsvc.pool.contract.messages import RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.quarantine import Cost, Quarantine, is_same
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.scheduling.scheduler import Scheduler

MOST_DEATHS = 2
KILLED = "two workers died of this request, so it is not tried again: ask something else, such as a smaller picture"
DEFECT = "a defect of the server; its log says why"
QUEUED_AGAIN = "what a worker had in flight is queued again"

log = logging.getLogger("featsvc.pool.scheduling.deaths")


class Deaths:
    """Settles what a failing worker had in flight. `callers` are the entries whose callers wait."""

    def __init__(self, settings: PoolSettings, scheduler: Scheduler, callers: Collection[QueueEntry]) -> None:
        self.quarantine = Quarantine(settings.quarantine_s)
        self._settings = settings
        self._scheduler = scheduler
        self._callers = callers

    def unsent(self, batch: RunBatch, error: FeatsvcError) -> None:
        """A batch never reached its worker."""
        for item in batch.items:
            if entry := self._scheduler.entry(item.id):
                refuse(entry, error)
                self._scheduler.dropped(entry)

    def too_long(self, worker: int) -> None:
        """A batch of a worker has had all its time; the worker is killed next."""
        batch = self._scheduler.overdue(worker)
        entries = tuple(batch.entries.values())
        if batch.began_at is None:
            for entry in entries:
                refuse(entry, self._load_takes_long(batch))
        elif len(entries) == 1 and self._scheduler.in_flight(worker).is_at_work(batch):
            self._refuse_for_good(entries[0], self._takes_long())

    def died(self, worker: int, is_its_own: bool) -> list[QueueEntry]:
        """A worker has died, of itself or of what it computed unless a signal had stopped it; what is queued again."""
        again = []
        for entry in self._scheduler.lost(worker):
            entry.deaths += is_its_own
            if entry.future.done():
                continue
            if entry.deaths >= MOST_DEATHS:
                self._refuse_for_good(entry, KilledWorkers(KILLED))
            else:
                self._scheduler.queue.add(entry)
                again.append(entry)
        if again:
            log.warning(QUEUED_AGAIN, extra={"worker": worker, "items": len(again)})
        return again

    def defect(self, worker: int) -> None:
        """Nobody can say what the worker has done."""
        self._scheduler.lost(worker)
        for entry in self._callers:
            # Also what had been taken out of flight when the defect came.
            if entry.batch is None and not entry.is_waiting:
                refuse(entry, FeatsvcError(DEFECT))

    def _refuse_for_good(self, entry: QueueEntry, error: Cost) -> None:
        refuse(entry, error)
        self.quarantine.add(entry.job, error)
        for other in tuple(self._callers):
            if other.is_waiting and is_same(entry.job, other.job):
                refuse(other, type(error)(error.message))

    def _load_takes_long(self, batch: Batch) -> TookTooLong:
        limit_s = self._settings.load_timeout_s
        return TookTooLong(
            f"loading {' and '.join(dict.fromkeys(batch.job.models))} took longer than {limit_s:g} s (--load-timeout)"
        )

    def _takes_long(self) -> TookTooLong:
        return TookTooLong(
            f"this request was at work for {self._settings.batch_timeout_s:g} s and was ended (--batch-timeout): "
            "ask for less at once, such as a smaller picture or fewer points"
        )


def refuse(entry: QueueEntry, error: FeatsvcError) -> None:
    """Tell the caller of an entry, if it still waits."""
    if not entry.future.done():
        entry.future.set_exception(error)


def expire(entry: QueueEntry) -> None:
    """Tell the caller of an entry that its time is over."""
    refuse(entry, DeadlineExceeded("the deadline passed before the work was done"))
