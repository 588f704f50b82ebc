"""Which batch a worker with a free slot gets next. Pure bookkeeping: no processes, no timers."""

from __future__ import annotations

import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from featsvc.errors import Overloaded
from featsvc.pool.settings import PoolSettings
from featsvc.pool.waiting import Batch, Entry, Subject, Topic, Waiting, subject_of

RETRY_AFTER_MS = (100, 60_000)
MOST_SUBJECTS = 256  # that a worker is remembered for, more than it can have in memory
SMOOTHING = 0.2  # weight of the newest batch in the mean time of an item


@dataclass(eq=False)
class Berth:
    """A live worker as the scheduler sees it."""

    worker: int
    models: frozenset[str] = frozenset()
    batches: dict[int, Batch] = field(default_factory=dict)  # oldest first
    subjects: OrderedDict[Subject, None] = field(default_factory=OrderedDict)  # given to it, latest last

    def carries(self, subject: Subject) -> bool:
        """Some batch on board is about this."""
        return any(subject_of(batch.job) == subject for batch in self.batches.values())

    def has(self, model: str) -> bool:
        """The model is loaded here, or about to be for a batch on board."""
        return model in self.models or any(batch.job.model == model for batch in self.batches.values())


class Scheduler:
    """The queue with its limits, and the choice of the next batch."""

    def __init__(self, settings: PoolSettings) -> None:
        self.waiting = Waiting()
        self._settings = settings
        self._batches = Counter[str]()  # at the workers, by service
        self._holders: dict[Subject, Berth] = {}  # who was given a subject last
        self._batch_ids = itertools.count(1)
        self._item_s = 0.1

    def admit(self, entry: Entry, workers: int) -> None:
        """Queue a new entry, or refuse it."""
        limits = self._settings
        waiting = self.waiting
        if waiting.count >= limits.max_queued:
            raise Overloaded(
                f"{waiting.count} requests are waiting, at most {limits.max_queued}: try again later",
                self._retry_after_ms(workers),
            )
        if waiting.count and waiting.nbytes + entry.job.nbytes > limits.max_queued_bytes:
            raise Overloaded(
                f"{waiting.nbytes} bytes are waiting, at most {limits.max_queued_bytes}: try again later",
                self._retry_after_ms(workers),
            )
        waiting.add(entry)
        if entry.job.affinity:
            self._settle(entry.subject)

    def release(self, entry: Entry) -> None:
        """An entry has waited long enough for the worker that knows its subject: let others take it too."""
        if entry.ticket and not entry.deaths and (topic := self.waiting.topic(entry.subject)):
            topic.overdue = True
            self._reserve(topic)

    def next_batch(self, berth: Berth, berths: Sequence[Berth]) -> Batch | None:
        """What this worker, one of `berths`, shall run next; the batch is then on board."""
        if len(berth.batches) >= self._settings.slots or any(batch.alone for batch in berth.batches.values()):
            return None
        suspect = self._suspect()
        if suspect and (berth.batches or not self._has_room(suspect)):
            return None  # and nothing else either, so that some worker becomes empty
        if suspect:
            self.waiting.remove(suspect)
        entries = [suspect] if suspect else self._group(berth, berths)
        if not entries:
            return None
        batch = Batch(
            next(self._batch_ids), {entry.id: entry for entry in entries}, alone=suspect is not None
        )
        for entry in entries:
            entry.batch = batch
        berth.batches[batch.id] = batch
        self._batches[batch.job.service] += 1
        if batch.job.affinity:
            self._note(berth, subject_of(batch.job))
        return batch

    def close(self, berth: Berth, batch: Batch) -> None:
        """A batch is off board: all answered, or its worker died."""
        del berth.batches[batch.id]
        self._batches[batch.job.service] -= 1
        if not batch.entries and batch.began_at is not None:
            item_s = (time.monotonic() - batch.began_at) / batch.size
            self._item_s += SMOOTHING * (item_s - self._item_s)
        if batch.job.affinity:
            self._settle(subject_of(batch.job))

    def forget(self, berth: Berth) -> None:
        """A worker has died, and with it all that it knew."""
        while berth.subjects:
            self._drop_oldest(berth)

    def _note(self, berth: Berth, subject: Subject) -> None:
        """From now on this worker knows a subject best."""
        berth.subjects[subject] = None
        berth.subjects.move_to_end(subject)
        self._holders[subject] = berth
        if len(berth.subjects) > MOST_SUBJECTS:
            self._drop_oldest(berth)
        self._settle(subject)

    def _drop_oldest(self, berth: Berth) -> None:
        subject, _ = berth.subjects.popitem(last=False)
        if self._holders.get(subject) is berth:
            del self._holders[subject]
            self._settle(subject)

    def _settle(self, subject: Subject) -> None:
        if topic := self.waiting.topic(subject):
            self._reserve(topic)

    def _reserve(self, topic: Topic) -> None:
        """Keep a topic for the worker that has it on board, and for a while for the one that had it last."""
        holder = self._holders.get(topic.subject)
        kept = holder and (not topic.overdue or holder.carries(topic.subject))
        self.waiting.reserve(topic, holder.worker if holder and kept else None)

    def _suspect(self) -> Entry | None:
        """The most urgent suspect whose caller still waits."""
        suspects = self.waiting.suspects
        while len(suspects):
            if not suspects.head().future.done():
                return suspects.head()
            self.waiting.remove(suspects.head())
        return None

    def _group(self, berth: Berth, berths: Sequence[Berth]) -> list[Entry]:
        """The most urgent group for this worker, without callers that have gone."""

        def urgency(head: Entry) -> tuple[float, int]:
            known = berth.has(head.job.model) + (head.subject in berth.subjects)
            return head.due - known * self._settings.affinity_s, head.ticket

        waiting = self.waiting
        while heads := [
            head
            for head in waiting.heads(berth.worker)
            if self._has_room(head) and self._suits(berth, berths, head)
        ]:
            head = min(heads, key=urgency)
            most = self._settings.batch_items.get(head.job.operation, self._settings.max_batch_items)
            if entries := waiting.take(head, most):
                return entries
        return []

    def _has_room(self, head: Entry) -> bool:
        return self._batches[head.job.service] < self._settings.max_concurrency

    def _suits(self, berth: Berth, berths: Sequence[Berth], head: Entry) -> bool:
        """Whether it may run here: where its model is, or on an idle worker if those that have it are busy."""
        model = head.job.model
        if berth.has(model):
            return True
        holders = [other for other in berths if other.has(model)]
        return not holders or (not berth.batches and all(holder.batches for holder in holders))

    def _retry_after_ms(self, workers: int) -> int:
        estimate_ms = 1000 * self.waiting.count * self._item_s / max(1, workers)
        return int(min(max(estimate_ms, RETRY_AFTER_MS[0]), RETRY_AFTER_MS[1]))
