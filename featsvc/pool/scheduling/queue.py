"""The priority queue of jobs that wait for a worker: lists by who may take an entry, and by what may share a batch."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from featsvc.pool.contract.job import AnyJob
from featsvc.pool.contract.messages import Outcome
from featsvc.pool.contract.status import OpenJobs

if TYPE_CHECKING:
    from featsvc.pool.scheduling.in_flight import Batch

AffinityKey = tuple[str, str, str]
"""Service, model and what a job is about; the last is empty where any worker will do."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(eq=False)
class QueueEntry:
    """A job and the future its caller awaits."""

    id: int
    job: AnyJob
    due: float
    """When it must be done, by the clock of time.monotonic."""
    future: asyncio.Future[Any]  # Any: which result class it is follows from the operation
    deaths: int = 0
    """Workers that died with it in flight. One that has seen a death is a suspect, and runs alone."""
    batch: Batch | None = None
    """The one that it is in flight with."""
    is_waiting: bool = False
    is_wanted_whole: bool = False
    """A worker was sent its brief, and asked for the rest."""
    order: tuple[float, int] = (0.0, 0)
    """While it waits: the oldest deadline first, then by arrival."""
    group: list[QueueEntry] = field(default_factory=list)
    """While it waits: those that may share its batch, itself among them, by their order."""
    release: asyncio.TimerHandle | None = None
    """Lets other workers take it too."""
    affinity_key: AffinityKey = field(init=False)

    def __post_init__(self) -> None:
        self.affinity_key = self.job.operation.family, self.job.model, self.job.affinity

    def note(self, worker: int, outcome: Outcome) -> None:
        """A worker has answered: its job learns what that has taken."""
        assert self.batch is not None, "in flight"
        self.job.times.note(self.batch.dispatched_at, worker, outcome.timing)

    @property
    def likeness(self) -> Hashable:
        """Equal for entries that may share a batch, where they agree in their affinity key too."""
        return self.job.operation, self.job.params


BY_ORDER = attrgetter("order")
Home = Callable[[AffinityKey, bool], int | None]
"""The worker that alone may take what is about a key, None where all may; told whether that has waited too long."""


@dataclass
class _About:
    """What waits about one key: the batch groups, by what those have in common that may share a batch."""

    home: int | None
    is_overdue: bool = False
    """One of them has waited as long as it should for the worker that knows what it is about."""
    groups: dict[Hashable, list[QueueEntry]] = field(default_factory=dict)


class Queue:
    """Entries by their urgency. Suspects stand apart: each was in flight when a worker died, and must run alone."""

    def __init__(self, home: Home) -> None:
        self.suspects: list[QueueEntry] = []
        self.count = self.nbytes = 0
        self._home = home
        self._about: dict[AffinityKey, _About] = {}
        self._by_takers: dict[tuple[str, str, int | None], list[QueueEntry]] = {}  # service, model and home
        self._arrivals = count(1)

    def add(self, entry: QueueEntry) -> None:
        """Queue an entry; one that has seen a worker die becomes a suspect."""
        entry.is_waiting, entry.batch = True, None
        entry.order = entry.due, next(self._arrivals)
        self.count += 1
        self.nbytes += entry.job.nbytes
        if entry.deaths:
            insort(self.suspects, entry, key=BY_ORDER)
            return
        key = entry.affinity_key
        about = self._about.get(key)
        if about is None:
            about = self._about[key] = _About(self._home(key, False))
        entry.group = about.groups.setdefault(entry.likeness, [])
        insort(entry.group, entry, key=BY_ORDER)
        _put(self._by_takers, (*key[:2], about.home), entry)

    def remove(self, entry: QueueEntry) -> None:
        """Take a waiting entry out."""
        entry.is_waiting = False
        self.count -= 1
        self.nbytes -= entry.job.nbytes
        if entry.deaths:
            self.suspects.remove(entry)
            return
        key = entry.affinity_key
        about = self._about[key]
        _take(self._by_takers, (*key[:2], about.home), entry)
        _cut(entry.group, entry)
        if not entry.group:
            del about.groups[entry.likeness]
        if not about.groups:
            del self._about[key]

    def take(self, head: QueueEntry, limit: int, limit_bytes: int) -> list[QueueEntry]:
        """Take out those that may share a batch with an entry, most urgent first: one, and more within the limits."""
        group, taken, nbytes = head.group, list[QueueEntry](), 0
        while group and len(taken) < limit and (not taken or nbytes + group[0].job.nbytes <= limit_bytes):
            entry = group[0]
            self.remove(entry)
            # A caller that has just gone has not yet had time to take its entry out.
            if not entry.future.done():
                taken.append(entry)
                nbytes += entry.job.nbytes
        return taken

    def heads(self, worker: int) -> Iterator[QueueEntry]:
        """The most urgent that a worker may take: of each service and model one that is for all, one for it alone."""
        for (_, _, home), entries in self._by_takers.items():
            if home is None or home == worker:
                yield entries[0]

    def release(self, key: AffinityKey) -> None:
        """What is about this has waited long enough for the worker that knows it."""
        if about := self._about.get(key):
            about.is_overdue = True
            self.rehome(key)

    def rehome(self, key: AffinityKey) -> None:
        """Ask anew who may take what is about this."""
        about = self._about.get(key)
        if about is None or (home := self._home(key, about.is_overdue)) == about.home:
            return
        for group in about.groups.values():
            for entry in group:
                _take(self._by_takers, (*key[:2], about.home), entry)
                _put(self._by_takers, (*key[:2], home), entry)
        about.home = home


def _put(lists: dict[Key, list[QueueEntry]], key: Key, entry: QueueEntry) -> None:
    insort(lists.setdefault(key, []), entry, key=BY_ORDER)


def _take(lists: dict[Key, list[QueueEntry]], key: Key, entry: QueueEntry) -> None:
    _cut(lists[key], entry)
    if not lists[key]:
        del lists[key]


def _cut(entries: list[QueueEntry], entry: QueueEntry) -> None:
    del entries[bisect_left(entries, entry.order, key=BY_ORDER)]


def open_jobs_of(entries: Iterable[QueueEntry]) -> tuple[OpenJobs, ...]:
    """What waits and is at work, by operation, model and caller."""
    now, groups = time.monotonic(), dict[tuple[str, str, str], list[QueueEntry]]()
    for entry in entries:
        job = entry.job
        caller = "" if job.caller is None else job.caller.name
        groups.setdefault((job.operation.rpc, job.model, caller), []).append(entry)
    return tuple(_summed(key, group, now) for key, group in groups.items())


def _summed(key: tuple[str, str, str], group: list[QueueEntry], now: float) -> OpenJobs:
    waiting = [entry.job for entry in group if entry.is_waiting]
    oldest_s = max((now - job.times.arrived_at for job in waiting), default=0.0)
    nbytes = sum(job.nbytes for job in waiting)
    return OpenJobs(*key, len(waiting), nbytes, oldest_s, len(group) - len(waiting))
