"""Whose turn it is: start-time fair queueing over what the requests of each caller cost."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING

from featsvc.pool.contract.return_times import ReturnTimes

if TYPE_CHECKING:
    # Checks of settings take a tenth of a second to import.
    from featsvc.pool.scheduling.queue import QueueEntry
    from featsvc.settings.access import KeyLimits
    from featsvc.work.caller import Caller

Takers = int | None
"""The worker that alone may take an entry, None where all may."""
FamilyAndModels = tuple[str, tuple[str, ...]]
"""Of an operation, and all the models that an entry needs."""
MOST_FLOWS = 1024
"""From here on those are forgotten that have nothing open, and all of their limit for a minute."""
MINUTE_S = 60.0


@dataclass(eq=False)
class CallerFlow:
    """All requests of one caller."""

    number: int
    limits: KeyLimits | None = None
    """Those of its key; None where nobody with a key asks."""
    weight: float = 1.0
    """Its share beside others, in proportion."""
    served_s: float = 0.0
    """Seconds of workers that it has had, each divided by its weight: who has had least comes next."""
    entries: dict[QueueEntry, None] = field(default_factory=dict)
    """What waits, in the order of arrival."""
    at_work: int = 0
    """How many are in flight, whose cost is not known yet."""
    nbytes: int = 0
    cost_s: float = 0.0
    """What all that waits will cost, about."""
    by_takers: dict[Takers, dict[FamilyAndModels, list[QueueEntry]]] = field(default_factory=dict)
    """What waits and is no suspect, by family and models, the most urgent first."""
    return_times: ReturnTimes = field(default_factory=ReturnTimes)
    budget_s: float = 0.0
    """Seconds of workers that it may still have by its limit for a minute."""
    budget_at: float | None = None
    """When that was so."""

    def earn(self, now: float) -> None:
        """Note what it may have of the workers by now, where its key has a limit for a minute."""
        if self.limits is None or not self.limits.worker_seconds_per_key:
            return
        most_s = self.limits.worker_seconds_per_key
        earned_s = math.inf if self.budget_at is None else (now - self.budget_at) * most_s / MINUTE_S
        self.budget_s, self.budget_at = min(most_s, self.budget_s + earned_s), now

    def is_settled(self, now: float) -> bool:
        """Whether nothing is lost by forgetting it: nothing is open, and its limit for a minute is all there."""
        self.earn(now)
        most_s = 0.0 if self.limits is None else self.limits.worker_seconds_per_key
        return not (self.entries or self.at_work) and (not most_s or self.budget_s >= most_s)

    @property
    def turn(self) -> tuple[float, int]:
        """The least comes next."""
        return self.served_s, self.number

    @property
    def is_guest(self) -> bool:
        """Whether no worker has anything of it."""
        return not self.at_work

    @property
    def is_busy(self) -> bool:
        """Whether it has more than one request, waiting and at work."""
        return len(self.entries) + self.at_work > 1

    def heads(self, worker: int) -> Iterator[QueueEntry]:
        """The most urgent that a worker may take: of each family and models one for all, and one for it alone."""
        for takers in (None, worker):
            for entries in self.by_takers.get(takers, {}).values():
                yield entries[0]


BY_TURN = attrgetter("turn")


class Flows:
    """The callers, and what each has had.

    A caller that comes back starts where those are that are being served (`_reached_s`): it has no claim to what it did
    not ask for, and none of what it had before counts against it. What a request has cost is known only when it is
    answered; until then its caller is charged what was predicted.
    """

    def __init__(self) -> None:
        self.waiting: list[CallerFlow] = []
        """Those that have something waiting, whose turn it is first."""
        self._all: dict[str, CallerFlow] = {}
        self._most = MOST_FLOWS
        self._numbers = count(1)
        self._reached_s = 0.0
        self._farthest_s = 0.0

    def __len__(self) -> int:
        return len(self._all)

    def of(self, caller: Caller | None) -> CallerFlow:
        """The requests of a caller."""
        name = "" if caller is None else caller.name
        flow = self._all.get(name)
        if flow is None:
            if len(self._all) >= self._most:
                self._forget(time.monotonic())
            flow = self._all[name] = CallerFlow(next(self._numbers))
        if caller is not None and flow.limits is not caller.limits:
            # New, or others by now.
            flow.limits, flow.weight = caller.limits, caller.limits.weight
        return flow

    def _forget(self, now: float) -> None:
        """Forget those of which nothing is lost by that; not soon again where they are few."""
        self._all = {name: flow for name, flow in self._all.items() if not flow.is_settled(now)}
        self._most = max(MOST_FLOWS, 2 * len(self._all))

    def enter(self, entry: QueueEntry) -> None:
        """An entry begins to wait."""
        flow = entry.flow
        if not flow.entries:
            if flow.served_s < self._reached_s:
                flow.served_s = self._reached_s
            insort(self.waiting, flow, key=BY_TURN)
        flow.entries[entry] = None
        flow.nbytes += entry.job.nbytes
        flow.cost_s += entry.cost_s

    def leave(self, entry: QueueEntry) -> None:
        """An entry waits no longer."""
        flow = entry.flow
        del flow.entries[entry]
        flow.nbytes -= entry.job.nbytes
        flow.cost_s -= entry.cost_s
        if not flow.entries:
            flow.cost_s = 0.0  # what is left of sums and differences
            del self.waiting[self._place(flow)]

    @property
    def is_guests_turn(self) -> bool:
        """Whether it is the turn of a caller of whom no worker has anything."""
        return bool(self.waiting) and self.waiting[0].is_guest

    def begin_turn(self, flow: CallerFlow) -> None:
        """It is the turn of a caller."""
        if flow.served_s > self._reached_s:
            self._reached_s = flow.served_s

    def rest(self) -> None:
        """Nothing waits and nothing is at work: what anybody has had is over."""
        self._reached_s = self._farthest_s

    def charge(self, entry: QueueEntry, seconds: float) -> None:
        """What an entry costs is so much, whatever was said before."""
        more_s, flow = seconds - entry.charged_s, entry.flow
        if not more_s:
            return
        entry.charged_s = seconds
        flow.budget_s -= more_s
        waits_beside_others = flow.entries and len(self.waiting) > 1
        if waits_beside_others:
            del self.waiting[self._place(flow)]
        flow.served_s += more_s / flow.weight
        if flow.served_s > self._farthest_s:
            self._farthest_s = flow.served_s
        if waits_beside_others:
            insort(self.waiting, flow, key=BY_TURN)

    def share(self, flow: CallerFlow) -> float:
        """The part of the workers that a caller has while all go on that wait now."""
        others = sum(each.weight for each in self.waiting if each is not flow)
        return flow.weight / (flow.weight + others)

    def _place(self, flow: CallerFlow) -> int:
        return bisect_left(self.waiting, flow.turn, key=BY_TURN)


class Turns:
    """Some callers by their turn, as each comes to be charged. A charge makes a turn later, never sooner."""

    def __init__(self, flows: Iterable[CallerFlow]) -> None:
        self._turns = [(*flow.turn, flow) for flow in flows]
        heapify(self._turns)

    def next(self, waiting: Container[CallerFlow]) -> CallerFlow:
        """The one whose turn it is, of those that still wait; there must be one."""
        turns = self._turns
        while True:
            *turn, flow = turns[0]
            if flow not in waiting:
                heappop(turns)
            elif flow.served_s != turn[0]:
                heapreplace(turns, (*flow.turn, flow))
            else:
                return flow
