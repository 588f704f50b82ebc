"""How much may wait: of all callers together, and of each. Who finds no place is told when to come back.

That a queue is full is no reason to refuse a caller that has less in it than another: then the newest of the one that
has most gives way, so that nobody's flood keeps others out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from featsvc.errors import Overloaded
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.costs import FIRST_S, Pace
from featsvc.pool.scheduling.flows import MINUTE_S, CallerFlow
from featsvc.pool.scheduling.queue import Queue, QueueEntry

if TYPE_CHECKING:
    from featsvc.settings.access import KeyLimits
    from featsvc.work.caller import Caller

LEAST_RETRY_S = 0.1
HELD_PART = 2  # of a limit, the part that is held for those who were told to come back


@dataclass(frozen=True)
class Lack:
    """What there is no place for: in words, and how many of the caller's requests must go to work before there is."""

    words: str
    ahead: float = 1.0


class Asking(Protocol):
    """What asks for a place."""

    @property
    def flow(self) -> CallerFlow:
        """Of its caller."""

    @property
    def nbytes(self) -> int:
        """What it holds while it waits."""

    @property
    def announced(self) -> int:
        """How many others of its caller are to come before it, and wait nowhere yet."""

    @property
    def cost_s(self) -> float:
        """What it will cost, about."""


@dataclass(frozen=True)
class Announced:
    """A request whose message is not here yet."""

    flow: CallerFlow
    nbytes: int
    announced: int
    cost_s: float


class QueueLimits:
    """Judges who may wait in a queue."""

    def __init__(self, settings: PoolSettings, queue: Queue, pace: Pace) -> None:
        self._settings = settings
        self._queue = queue
        self._pace = pace

    def giving_way(self, entry: QueueEntry, now: float, workers: int) -> list[QueueEntry]:
        """Those that must go for a new entry, mostly none; raises Overloaded where it finds no place.

        The entry must know its flow and its cost.
        """
        times = entry.flow.return_times
        held = 0 if not times or times.came_back(now) else times.held(now)
        return self._giving_way(entry, held, now, workers)

    def check_room(self, caller: Caller, nbytes: int, announced: int, workers: int) -> None:
        """Raises Overloaded where a request would find no place now that is only announced.

        So many others of its caller were announced before; all together they have so many bytes.
        """
        now, flow = time.monotonic(), self._queue.flows.of(caller)
        times, count = flow.return_times, len(flow.entries)
        held = 0 if not times or times.is_due(now) else times.held(now)
        asking = Announced(flow, nbytes, announced, flow.cost_s / count if count else FIRST_S)
        try:
            self._giving_way(asking, held, now, workers)
        except Overloaded:
            # It is told another time; where it is not refused, the request itself uses this one.
            times.came_back(now)
            raise

    def _giving_way(self, entry: Asking, held: int, now: float, workers: int) -> list[QueueEntry]:
        if limits := entry.flow.limits:
            if lack := self._own_lack(entry, limits, held):
                raise self._refusal(entry, lack, now, workers)
            self._check_budget(entry, limits.worker_seconds_per_key, held, now)
        queue, s = self._queue, self._settings
        count = queue.count + entry.announced
        if not held and count < s.max_queued and queue.nbytes + entry.nbytes <= s.max_queued_bytes:
            return []
        lack = self._common_lack(entry, held)
        if lack is None:
            return []
        others = self._of_heavier(entry)
        if others is None:
            raise self._refusal(entry, lack, now, workers)
        return others

    def gave_way(self, entry: QueueEntry, now: float, workers: int) -> Overloaded:
        """What the caller of an entry is told that has given way."""
        count = len(entry.flow.entries)
        full = "the queue is full (--max-queue, --max-queue-bytes)"
        lack = Lack(f"{full}, with {count} requests of this key, which is more than others have")
        return self._refusal(entry, lack, now, workers)

    def _own_lack(self, entry: Asking, limits: KeyLimits, held: int) -> Lack | None:
        """What the caller has too much of by its own limits."""
        flow = entry.flow
        count, most = len(flow.entries) + entry.announced, limits.max_queue_per_key
        if most and count + min(held, most // HELD_PART) >= most:
            return Lack(f"{count} requests of this key are waiting, at most {most} (max_queue_per_key)")
        nbytes, most = flow.nbytes, limits.max_queue_bytes_per_key
        if most and count and nbytes + entry.nbytes > most:
            ahead = _entries(flow, nbytes + entry.nbytes - most)
            return Lack(
                f"{nbytes} bytes of this key are waiting, at most {most} (max_queue_bytes_per_key)", ahead
            )
        return None

    def _common_lack(self, entry: Asking, held: int) -> Lack | None:
        """What there is too much of in the whole queue."""
        queue, s, flow = self._queue, self._settings, entry.flow
        count = queue.count + entry.announced
        if count + min(held, s.max_queued // HELD_PART) >= s.max_queued:
            own = f"{len(flow.entries) + entry.announced} of them of this key"
            expected = f" and places are held for {held} that were told to come back" if held else ""
            most = f"at most {s.max_queued} (--max-queue)"
            return Lack(f"{count} requests are waiting{expected}, {most}, {own}")
        over = queue.nbytes + entry.nbytes - s.max_queued_bytes
        if count and over > 0:
            words = f"{queue.nbytes} bytes are waiting, at most {s.max_queued_bytes} (--max-queue-bytes)"
            return Lack(f"{words}, {flow.nbytes} of them of this key", _entries(flow, over))
        return None

    def _check_budget(self, entry: Asking, most_s: float, held: int, now: float) -> None:
        """Raises Overloaded where the caller has asked for all that it may have of the workers now."""
        if not most_s:
            return
        flow = entry.flow
        flow.earn(now)
        wait_s = MINUTE_S / most_s  # for each second of a worker
        lacking_s = flow.cost_s + held * entry.cost_s - flow.budget_s
        if lacking_s >= 0:
            at = flow.return_times.next(now, (lacking_s + entry.cost_s) * wait_s, entry.cost_s * wait_s)
            words = f"this key has had its {most_s:g} s of the workers in a minute (worker_seconds_per_key)"
            raise Overloaded.within(words, at - now)

    def _of_heavier(self, entry: Asking) -> list[QueueEntry] | None:
        """The newest of callers that have more than this one will, as many as must go; None where nobody has."""
        queue, s, flow, own_bytes = self._queue, self._settings, entry.flow, entry.nbytes
        count, own = queue.count + entry.announced, len(flow.entries) + entry.announced
        over_bytes = queue.nbytes + own_bytes - s.max_queued_bytes if count else 0
        others = [each for each in queue.flows.waiting if each is not flow]
        leaving: dict[QueueEntry, None] = {}
        if over_bytes <= 0 or count >= s.max_queued:
            heaviest = max(others, key=_count_share, default=None)
            if heaviest is None or _count_share(heaviest) <= (own + 1) / flow.weight:
                return None
            if count >= s.max_queued:
                leaving[next(reversed(heaviest.entries))] = None
        newest = {each: reversed(each.entries) for each in others}
        nbytes = {each: each.nbytes for each in others}
        over_bytes -= sum(each.nbytes for each in leaving)
        while over_bytes > 0:
            heaviest = max(others, key=lambda each: nbytes[each] / each.weight, default=None)
            if (
                heaviest is None
                or nbytes[heaviest] / heaviest.weight <= (flow.nbytes + own_bytes) / flow.weight
            ):
                return None
            other = next(newest[heaviest])
            nbytes[heaviest] -= other.nbytes
            if other not in leaving:
                leaving[other] = None
                over_bytes -= other.nbytes
        return list(leaving)

    def _refusal(self, entry: Asking, lack: Lack, now: float, workers: int) -> Overloaded:
        """Says when those will have gone to work that are ahead, and those who come back before."""
        flow = entry.flow
        item_s = (flow.cost_s + entry.cost_s) / (len(flow.entries) + 1)
        further_s = item_s / (self._pace.per_s(now, workers) * self._queue.flows.share(flow))
        # Several go at once, and when the next time is for that nobody knows.
        first_s = max(LEAST_RETRY_S, (lack.ahead + self._pace.items) * further_s)
        return Overloaded.within(lack.words, flow.return_times.next(now, first_s, further_s) - now)


def _count_share(flow: CallerFlow) -> float:
    return len(flow.entries) / flow.weight


def _entries(flow: CallerFlow, nbytes: int) -> float:
    """How many entries of a caller have so many bytes, about."""
    return max(1.0, nbytes * len(flow.entries) / flow.nbytes) if flow.nbytes else 1.0
