"""Workers and callers by a clock of their own: hours of a scheduler in a moment, and always the same."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling import in_flight, scheduler
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.settings.access import KeyLimits
from featsvc.work.caller import Caller
from tests.pool.fakes import FakeParams
from tests.pool.jobs import job

Done = Callable[[], None]
Refused = Callable[[Overloaded], None]


def caller(name: str, **limits: Any) -> Caller:
    """A caller with these limits."""
    return Caller(name, limits=KeyLimits(**limits))


@dataclass(eq=False)
class Asked:
    """A request: what it really costs, and who hears of its end."""

    entry: QueueEntry
    cost_s: float
    done: Done
    refused: Refused


class Simulation:
    """A scheduler before workers that take as long as each request costs; nothing happens but in `run`."""

    makes: type[scheduler.Scheduler] = scheduler.Scheduler
    pass_s = 0.0
    """What a batch takes beside its requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1, **settings: Any) -> None:
        self.now = 1000.0
        for module in (scheduler, in_flight):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.scheduler = self.makes(PoolSettings(**{"max_batch_items": 4, **settings}))
        self.served_s: defaultdict[str, float] = defaultdict(float)
        """Seconds of workers, by caller."""
        self._affinity_s = self.scheduler._settings.affinity_s
        self._workers = range(workers)
        self._free_at = dict.fromkeys(self._workers, 0.0)
        for each in self._workers:
            self.scheduler.add_worker(each)
            self.scheduler.set_models(each, frozenset({"m"}))
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._events: list[tuple[float, int, Done]] = []
        self._asked: dict[QueueEntry, Asked] = {}

    def at(self, when: float, act: Done) -> None:
        """Do something later."""
        heapq.heappush(self._events, (when, next(self._ids), act))

    def ask(
        self,
        who: Caller,
        cost_s: float,
        done: Done = lambda: None,
        refused: Refused = lambda error: None,
        **fields: Any,
    ) -> None:
        """A request comes in; those of one cost may share a batch."""
        due = fields.pop("due", self.now + 300)
        asked = job(caller=who, **{"params": FakeParams(most=int(1e6 * cost_s)), **fields})
        entry = QueueEntry(next(self._ids), asked, due, self._loop.create_future())
        self._asked[entry] = Asked(entry, cost_s, done, refused)
        try:
            leaving = self.scheduler.admit(entry, len(self._workers))
        except Overloaded as error:
            del self._asked[entry]
            refused(error)
            return
        for other, told in leaving:
            self._asked.pop(other).refused(told)
        self._dispatch()
        if entry.is_waiting and asked.affinity:
            self.at(self.now + self._affinity_s, lambda: self._release(entry))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = until

    def _dispatch(self) -> None:
        while self.scheduler.queue.count and (batch := self.scheduler.dispatch(self._workers)):
            self.begin(batch)

    def _release(self, entry: QueueEntry) -> None:
        if entry.is_waiting:
            self.scheduler.release(entry)
            self._dispatch()

    def begin(self, batch: Batch) -> None:
        asked = [self._asked.pop(entry) for entry in batch.entries.values()]
        takes_s = self.pass_s + sum(each.cost_s for each in asked)
        self._free_at[batch.worker] = max(self._free_at[batch.worker], self.now) + takes_s

        def end() -> None:
            for each in asked:
                assert each.entry.job.caller
                self.served_s[each.entry.job.caller.name] += each.cost_s
                self.scheduler.completed(each.entry, each.cost_s)
                each.done()
            self._dispatch()

        self.at(self._free_at[batch.worker], end)
