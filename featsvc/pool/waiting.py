"""Jobs that wait for a worker, by service and model and by what may share a batch. All steps are O(log n)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

from featsvc.pool.job import Job

Key = TypeVar("Key", bound=Hashable)
Lane = tuple[str, str]  # service, model


@dataclass(eq=False)
class Entry:
    """A job and the future its caller awaits."""

    id: int
    job: Job
    due: float  # when it must be done, by the clock of time.monotonic
    future: asyncio.Future[Any]  # Any: which result class it is follows from the operation
    deaths: int = 0  # workers that died with it on board
    ticket: int = 0  # its place in the queue; 0 when it does not wait
    batch: Batch | None = None  # the one that carries it

    @property
    def lane(self) -> Lane:
        """What decides where it may run."""
        return self.job.service, self.job.model

    @property
    def group(self) -> Hashable:
        """Entries of equal groups may share a batch."""
        return self.job.service, self.job.operation, self.job.model, self.job.params


@dataclass(eq=False)
class Batch:
    """Entries at a worker that are not yet answered; `alone` when it may share the worker with nothing."""

    id: int
    entries: dict[int, Entry]
    alone: bool
    size: int = field(init=False)
    began_at: float | None = None  # when its model was there
    watched_since: float | None = None  # when its time limit began to run

    def __post_init__(self) -> None:
        self.size = len(self.entries)
        self.job = next(iter(self.entries.values())).job  # all agree in service, operation, model and params


class Line:
    """Entries, most urgent first. One that leaves early stays in the heap, void, until its turn."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, entry: Entry) -> None:
        """Put in an entry that has just got its ticket."""
        heappush(self._heap, (entry.due, entry.ticket, entry))
        self._waiting += 1

    def forget_one(self) -> None:
        """Take note that some entry has given up its ticket."""
        self._waiting -= 1
        if len(self._heap) > 2 * self._waiting + 64:
            self._heap = [place for place in self._heap if place[1] == place[2].ticket]
            heapify(self._heap)

    def head(self) -> Entry:
        """The most urgent entry; there must be one."""
        while self._heap[0][1] != self._heap[0][2].ticket:
            heappop(self._heap)
        return self._heap[0][2]


class Waiting:
    """The queue. Suspects stand apart: each was on board when a worker died, and must run alone."""

    def __init__(self) -> None:
        self.suspects = Line()
        self.count = 0
        self.nbytes = 0
        self._lanes: dict[Lane, Line] = {}
        self._groups: dict[Hashable, Line] = {}
        self._tickets = itertools.count(1)

    def add(self, entry: Entry) -> None:
        """Queue an entry; one that has seen a worker die becomes a suspect."""
        entry.ticket = next(self._tickets)
        entry.batch = None
        self.count += 1
        self.nbytes += entry.job.nbytes
        if entry.deaths:
            self.suspects.add(entry)
        else:
            self._lanes.setdefault(entry.lane, Line()).add(entry)
            self._groups.setdefault(entry.group, Line()).add(entry)

    def remove(self, entry: Entry) -> None:
        """Take a waiting entry out."""
        entry.ticket = 0
        self.count -= 1
        self.nbytes -= entry.job.nbytes
        if entry.deaths:
            self.suspects.forget_one()
        else:
            _forget(self._lanes, entry.lane)
            _forget(self._groups, entry.group)

    def heads(self) -> Iterator[Entry]:
        """The most urgent entry of each lane."""
        return (line.head() for line in self._lanes.values())

    def take(self, head: Entry, limit: int) -> list[Entry]:
        """Take out an entry's whole group, most urgent first, or as many as `limit`."""
        line = self._groups[head.group]
        taken = []
        for _ in range(min(limit, len(line))):
            entry = line.head()
            self.remove(entry)
            # A caller that has just gone has not yet had time to take its entry out.
            if not entry.future.done():
                taken.append(entry)
        return taken


def _forget(lines: dict[Key, Line], key: Key) -> None:
    lines[key].forget_one()
    if not len(lines[key]):
        del lines[key]
