"""What waits for a worker: lists of each caller by who may take an entry, and groups of what may share a batch."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from featsvc.pool.contract.job import AnyJob
from featsvc.pool.contract.messages import Outcome
from featsvc.pool.contract.status import OpenJobs
from featsvc.pool.scheduling.costs import CostKey
from featsvc.pool.scheduling.flows import CallerFlow, FamilyAndModels, Flows, Takers, Turns

if TYPE_CHECKING:
    from featsvc.pool.scheduling.in_flight import Batch

AffinityKey = tuple[str, str, str]
"""Service, model and what a job is about; the last is empty where any worker will do."""
Key = TypeVar("Key", bound=Hashable)


class Likeness:
    """Equal for entries that may share a batch, where they agree in their affinity key too.

    Hashed once: to hash parameters takes as long as to find a place in the queue.
    """

    __slots__ = ("_operation", "_params", "number")

    def __init__(self, job: AnyJob) -> None:
        self._operation, self._params = job.operation, job.params
        self.number = hash((job.operation, job.params))

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Likeness)
            and self._operation is other._operation
            and self._params == other._params
        )


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
    order: tuple[int, float, int] = (0, 0.0, 0)
    """While it waits: the highest priority first, then the oldest deadline, then by arrival."""
    group: Group = field(default_factory=dict)
    """While it waits: those that may share its batch, itself among them."""
    release: asyncio.TimerHandle | None = None
    """Lets other workers take it too."""
    affinity_key: AffinityKey = field(init=False)
    likeness: Likeness = field(init=False)
    flow: CallerFlow = field(init=False)
    """Of its caller, from when it first waits."""
    cost_key: CostKey = field(init=False)
    """Equal for entries that cost about the same."""
    cost_s: float = 0.0
    """What it will cost, about."""
    charged_s: float = 0.0
    """What its caller was charged for it so far."""

    def __post_init__(self) -> None:
        job = self.job
        self.affinity_key = job.operation.family, job.model, job.affinity
        # Two pictures of different sizes cost differently, but not each size has to be learned by itself.
        size = job.nbytes.bit_length()
        self.likeness = Likeness(job)
        self.cost_key = CostKey(job.operation.rpc, job.model, self.likeness.number, size, is_known=False)

    @property
    def nbytes(self) -> int:
        """What it holds while it waits."""
        return self.job.nbytes

    @property
    def announced(self) -> int:
        """None: it is here, and what its caller announces later comes behind it."""
        return 0

    @property
    def pictures(self) -> int:
        """Those that are computed for it: a worker that knows what it is about has done with the others."""
        return 1 if self.cost_key.is_known else self.job.pictures

    def note(self, worker: int, precision: str, outcome: Outcome) -> None:
        """A worker has answered: its job learns what that has taken, and what it computes in."""
        assert self.batch is not None, "in flight"
        timing = outcome.timing if outcome.has_result else None
        self.job.times.note(self.batch.dispatched_at, worker, precision, timing)

    def note_known(self, is_known: bool) -> None:
        """Whether a worker knows what it is about: then it costs less."""
        self.cost_key = self.cost_key._replace(is_known=is_known)


Group = dict[CallerFlow, list[QueueEntry]]
"""Of each caller, by their order."""
BY_ORDER = attrgetter("order")
Home = Callable[[AffinityKey, bool], int | None]
"""The worker that alone may take what is about a key, None where all may; told whether that has waited too long."""


@dataclass
class _About:
    """What waits about one key: the batch groups, by what those have in common that may share a batch."""

    home: int | None
    is_overdue: bool = False
    """One of them has waited as long as it should for the worker that knows what it is about."""
    groups: dict[Likeness, Group] = field(default_factory=dict)


class Queue:
    """Entries by the turn of their callers, and of one caller by their urgency.

    Suspects stand apart: each was in flight when a worker died, and must run alone.
    """

    def __init__(self, home: Home) -> None:
        self.suspects: list[QueueEntry] = []
        self.count = self.nbytes = 0
        self.flows = Flows()
        self._home = home
        self._about: dict[AffinityKey, _About] = {}
        self._arrivals = count(1)

    def add(self, entry: QueueEntry) -> None:
        """Queue an entry; one that has seen a worker die becomes a suspect."""
        entry.is_waiting, entry.batch = True, None
        entry.order = -entry.job.priority, entry.due, next(self._arrivals)
        entry.flow = flow = self.flows.of(entry.job.caller)
        self.flows.enter(entry)
        self.count += 1
        self.nbytes += entry.job.nbytes
        if entry.deaths:
            # Of all callers together, among whom priorities do not count.
            insort(self.suspects, entry, key=_by_deadline)
            return
        key = entry.affinity_key
        about = self._about.get(key)
        if about is None:
            about = self._about[key] = _About(self._home(key, False))
        entry.group = about.groups.setdefault(entry.likeness, {})
        _put(entry.group, flow, entry)
        _put_for(about.home, entry)

    def remove(self, entry: QueueEntry) -> None:
        """Take a waiting entry out."""
        entry.is_waiting = False
        flow = entry.flow
        self.flows.leave(entry)
        self.count -= 1
        self.nbytes -= entry.job.nbytes
        if entry.deaths:
            self.suspects.remove(entry)
            return
        key = entry.affinity_key
        about = self._about[key]
        _take_from(about.home, entry)
        _take(entry.group, flow, entry)
        if not entry.group:
            del about.groups[entry.likeness]
        if not about.groups:
            del self._about[key]

    def take(
        self, head: QueueEntry, limit: int, limit_bytes: int, guests_only: bool = False
    ) -> list[QueueEntry]:
        """Take out those that may share a batch with an entry: its own caller's first, then by turns, at least one.

        With `guests_only` they share no batch with those of who has something at work. Each is charged to its caller.
        Empty where all callers have just gone.
        """
        group, flow = head.group, head.flow
        others = sum(not each.is_guest for each in group) if guests_only else 0
        taken, nbytes = list[QueueEntry](), 0
        turns: Turns | None = None
        self.flows.begin_turn(flow)
        while len(group) > others and len(taken) < limit:
            if len(group) == 1:
                (flow,) = group
            elif taken or flow not in group:
                turns = turns or Turns(each for each in group if each.is_guest or not guests_only)
                flow = turns.next(group)
            entry = group[flow][0]
            if taken and nbytes + entry.job.nbytes > limit_bytes:
                break
            self.remove(entry)
            # A caller that has just gone has not yet had time to take its entry out.
            if not entry.future.done():
                taken.append(entry)
                nbytes += entry.job.nbytes
                # What it will cost, about; who was charged and has lost its worker pays no second time.
                self.flows.charge(entry, max(entry.cost_s, entry.charged_s))
        return taken

    def take_suspect(self, suspect: QueueEntry) -> list[QueueEntry]:
        """Take out a suspect, by itself."""
        self.remove(suspect)
        self.flows.charge(suspect, max(suspect.cost_s, suspect.charged_s))
        return [suspect]

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
            for entries in group.values():
                for entry in entries:
                    _take_from(about.home, entry)
                    _put_for(home, entry)
        about.home = home


def _put(lists: dict[Key, list[QueueEntry]], key: Key, entry: QueueEntry) -> None:
    insort(lists.setdefault(key, []), entry, key=BY_ORDER)


def _take(lists: dict[Key, list[QueueEntry]], key: Key, entry: QueueEntry) -> None:
    entries = lists[key]
    del entries[bisect_left(entries, entry.order, key=BY_ORDER)]
    if not entries:
        del lists[key]


def _put_for(takers: Takers, entry: QueueEntry) -> None:
    _put(entry.flow.by_takers.setdefault(takers, {}), _family_and_models(entry), entry)


def _take_from(takers: Takers, entry: QueueEntry) -> None:
    by_models = entry.flow.by_takers[takers]
    _take(by_models, _family_and_models(entry), entry)
    if not by_models:
        del entry.flow.by_takers[takers]


def _family_and_models(entry: QueueEntry) -> FamilyAndModels:
    """Who can take one of several models cannot always take one of the first of them, nor the other way round."""
    job = entry.job
    return job.operation.family, job.models


def _by_deadline(entry: QueueEntry) -> tuple[float, int]:
    _, due, arrival = entry.order
    return due, arrival


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
