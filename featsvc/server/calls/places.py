"""Who has a place among the open calls with a key.

A caller loses no place to one that will have as many calls open. Those that have more give way: first what waits for
its caller, then the newest call at work of the one that has most. So nobody's flood keeps others out.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from featsvc.errors import FeatsvcError, Overloaded
from featsvc.pool.contract.return_times import ReturnTimes
from featsvc.server.calls.call import Call
from featsvc.work.caller import Caller

# Of the calls that are open, the part that gives way at once when all places are taken.
WAY_PART = 16
# Of the places, the part that may be held for those who were told to come back.
HELD_PART = 2
# How long a call takes until some have ended, and what the newest says about that.
FIRST_S = 1.0
SMOOTHING = 0.2
LEAST_RETRY_S = 0.1
# A call keeps its place for so long, though it waits for its caller: many who come at once do not end one another.
KEPT_S = 1.0


@dataclass(eq=False)
class CallerCalls:
    """The open calls of one caller."""

    caller: Caller
    calls: dict[Call, None] = field(default_factory=dict)
    """The oldest first."""
    return_times: ReturnTimes = field(default_factory=ReturnTimes)
    interval_s: float = FIRST_S
    """Mean time between the ends of two."""
    ended_at: float = field(default_factory=time.monotonic)

    def share(self, more: int = 0) -> float:
        """How many it has, and `more`, in proportion to its weight."""
        return (len(self.calls) + more) / self.caller.limits.weight

    def held(self, now: float) -> int:
        """Places that are held for others of this caller, where one comes now."""
        times = self.return_times
        return 0 if not times or times.came_back(now) else times.held(now)

    def note_end(self, now: float) -> None:
        """A call has ended."""
        self.interval_s += SMOOTHING * (now - self.ended_at - self.interval_s)
        self.ended_at = now

    def refusal(self, words: str) -> Overloaded:
        """Says when as many will have ended as come back before."""
        now = time.monotonic()
        further_s = max(self.interval_s, now - self.ended_at)
        wait_s = self.return_times.next(now, max(LEAST_RETRY_S, 2 * further_s), further_s) - now
        return Overloaded.within(words, wait_s)


class Places:
    """The places for calls with a key. `end` ends a call, and `is_idle` says whether one waits for its caller."""

    def __init__(
        self, most: int, end: Callable[[Call, FeatsvcError], None], is_idle: Callable[[Call], bool]
    ) -> None:
        self._most = most
        self._end = end
        self._is_idle = is_idle
        self._callers: dict[str, CallerCalls] = {}
        # Whose place each call has: its key may have another name by now.
        self._entered: dict[Call, CallerCalls] = {}

    def __len__(self) -> int:
        return len(self._entered)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._entered)

    def enter(self, call: Call) -> None:
        """Give a call a place; raises Overloaded where there is none."""
        caller = call.caller
        own = self._callers.get(caller.name)
        if own is None:
            own = self._callers[caller.name] = CallerCalls(caller)
        own.caller = caller  # whose limits may be others by now
        held = own.held(time.monotonic()) if own.return_times else 0
        most = caller.limits.max_calls_per_key
        if most and len(own.calls) + min(held, most // HELD_PART) >= most:
            words = f"open calls of this key: {len(own.calls)}, at most {most} (max_calls_per_key)"
            # Its own calls come as one does: what has just begun is about to send its message.
            self._end_idle([own], lambda _: words, time.monotonic() - KEPT_S)
            if len(own.calls) >= most:
                raise own.refusal(words)
        held = min(held, self._most // HELD_PART)
        if len(self._entered) + held >= self._most and not self._made_way(own):
            raise own.refusal(self._crowded(own))
        own.calls[call] = None
        self._entered[call] = own

    def leave(self, call: Call) -> None:
        """A call has ended, be it for others."""
        if call not in self._entered:
            return
        own = self._remove(call)
        own.note_end(time.monotonic())
        if not own.calls and not own.return_times:
            del self._callers[own.caller.name]

    def _remove(self, call: Call) -> CallerCalls:
        own = self._entered.pop(call)
        del own.calls[call]
        return own

    def _made_way(self, own: CallerCalls) -> bool:
        """Whether there is a place now, perhaps because others have given way."""
        heavier = [each for each in self._callers.values() if each.share() > own.share(more=1)]
        if len(self._entered) < self._most:
            return bool(heavier)  # what is free is held for others of this caller
        self._end_idle([own, *heavier], self._crowded)
        if len(self._entered) >= self._most and heavier:
            heaviest = max(heavier, key=CallerCalls.share)
            words = f"{len(heaviest.calls)} calls of this key are open, which is more than others have (--max-calls)"
            call = next(reversed(heaviest.calls))
            self._end(call, heaviest.refusal(words))
            self._remove(call)
        return len(self._entered) < self._most

    def _crowded(self, own: CallerCalls) -> str:
        """What a caller is told where all places are taken."""
        words = f"{len(self._entered)} calls are open, at most {self._most} (--max-calls)"
        return f"{words}, {len(own.calls)} of them of this key"

    def _end_idle(
        self,
        callers: list[CallerCalls],
        words: Callable[[CallerCalls], str],
        began_before: float = math.inf,
    ) -> None:
        """End some that wait for their callers."""
        idle = [
            call
            for each in callers
            for call in each.calls
            if call.began < began_before and self._is_idle(call)
        ]
        ending = crowd_first(idle, lambda call: call.began)[: 1 + len(self._entered) // WAY_PART]
        told = {call: f"{words(self._entered[call])}, and this one waited for its caller" for call in ending}
        for call in ending:
            # By then others of its caller have been kept for long enough, and one that waits gives way to what comes.
            self._end(call, Overloaded.within(told[call], KEPT_S))
            self._remove(call)


def crowd_first(calls: Iterable[Call], since: Callable[[Call], float]) -> list[Call]:
    """The caller who has most of the calls first, of its connections the one with most, and there the oldest."""
    calls = list(calls)
    callers = Counter(call.caller.name for call in calls)
    peers = Counter(call.peer for call in calls)
    return sorted(calls, key=lambda call: (-callers[call.caller.name], -peers[call.peer], since(call)))
