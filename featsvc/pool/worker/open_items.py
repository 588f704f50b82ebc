"""What a worker was given and has not answered: until when each item is wanted, and which batch seems to compute."""

from __future__ import annotations

import math
import time

from featsvc.pool.contract.messages import BatchItem, RunBatch


class OpenItems:
    """Items that are not yet answered. Any thread may ask, add and close some."""

    def __init__(self) -> None:
        # Items that nobody has cancelled, and when they are too late by this process's clock.
        self._deadlines: dict[int, float] = {}
        self._batches: dict[int, int] = {}
        """The batch of each item, the oldest first."""
        self._told: int | None = None
        self.count = 0
        """How much has ever come that takes memory or frees some: batches, and models to load or to send away."""

    def add(self, batch: RunBatch) -> None:
        """A batch has come."""
        now = time.monotonic()
        self.count += 1
        for item in batch.items:
            self._deadlines[item.id] = math.inf if item.left_s is None else now + item.left_s
            self._batches[item.id] = batch.id

    @property
    def is_empty(self) -> bool:
        """Whether all is answered."""
        return not self._batches

    def cancel(self, item: int) -> None:
        """Nobody waits for an item any more; it is still to be answered."""
        self._deadlines.pop(item, None)

    def is_wanted(self, item: BatchItem) -> bool:
        """Whether somebody waits for an item."""
        return time.monotonic() < self._deadlines.get(item.id, -math.inf)

    def close(self, item: int) -> None:
        """An item is answered."""
        self._deadlines.pop(item, None)
        self._batches.pop(item, None)

    def is_presumed(self, batch: int) -> bool:
        """Whether the pool takes this batch for the one that computes; else it is to be told, and from then on does.

        It presumes the batch that it was last told of, and where that is answered the oldest one. For the thread
        that computes.
        """
        batches = list(self._batches.values())  # at once, for other threads take some out
        presumed = self._told if self._told in batches else next(iter(batches), None)
        if presumed == batch:
            return True
        self._told = batch
        return False
