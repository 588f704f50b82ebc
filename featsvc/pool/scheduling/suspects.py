"""Which suspect is next, and the worker that becomes empty for it while the others go on."""

from __future__ import annotations

from collections.abc import Iterable

from featsvc.pool.scheduling.in_flight import InFlight
from featsvc.pool.scheduling.queue import Queue, QueueEntry


class Suspects:
    """Suspects of a queue: each needs a worker that has nothing else."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.emptied: int | None = None
        """The worker that gets nothing more until it takes a suspect."""
        self._delaying: frozenset[int] = frozenset()  # the batches that it had when that began

    def next(self) -> QueueEntry | None:
        """The most urgent one whose caller still waits."""
        suspects = self._queue.suspects
        while suspects and suspects[0].future.done():
            self._queue.remove(suspects[0])
        if not suspects:
            self.emptied = None
            return None
        return suspects[0]

    def taken(self) -> None:
        """A worker has one: no other need become empty for it."""
        self.emptied = None

    def emptied_of(self, states: Iterable[InFlight]) -> int | None:
        """The worker that becomes empty, of these: the one with the least to do."""
        usable = [each for each in states if not (each.is_alone() or each.is_leaving)]
        if self.emptied not in [each.worker for each in usable]:
            emptied = min(usable, key=lambda each: len(each.batches))
            self.emptied, self._delaying = emptied.worker, frozenset(emptied.batches)
        return self.emptied

    def is_delayed_by(self, state: InFlight) -> bool:
        """Whether a suspect waits for what takes long anyway, so that short work meanwhile costs it nothing.

        What comes meanwhile does not count, or there would be no end of it.
        """
        return any(batch.is_aside and batch.id in self._delaying for batch in state.batches.values())
