"""When callers are told that there is no place for them, and when more is read of them: not too much in a second.

A refusal costs the event loop nearly as much as a small answer. Who asks again at once would have the server do nothing
but refuse, and others would wait behind that. So further refusals of such a caller are told later, within the time that
they say to wait: who heeds that loses nothing. And of its streams no more is read than there is place for.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from featsvc.errors import FeatsvcError, Overloaded
from featsvc.server.calls.call import Call

# So long does a refusal wait at most; then they come faster.
LONGEST_S = 5.0
# Refusals of so long may come at once.
BURST_S = 1.0
# Of the time that a call has left, the part that its refusal may take: it is to come before the deadline.
TIME_PART = 2
MOST_CALLERS = 1024


@dataclass(eq=False)
class _Caller:
    """One that was refused lately."""

    told_until: float = 0.0
    """When the latest refusal is told."""
    readers: deque[asyncio.Future[None]] = field(default_factory=deque)
    """Streams that wait for their turn to be read on, the one that has waited longest first."""
    has_timer: bool = False
    """Whether the next turn is timed: with two timers there would be twice the turns."""

    def let_one(self) -> None:
        """Lets one more stream be read on."""
        while self.readers:
            reader = self.readers.popleft()
            if not reader.done():  # its call may have ended
                reader.set_result(None)
                return


class Refusals:
    """The refusals of each caller, `per_s` in a second; those of `most` calls at once wait to be told.

    With 0 in a second all are told at once. Callers without a key have limits of their own (`Admission`).
    """

    def __init__(self, per_s: int = 0, most: int = 1024) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0
        self._most = most
        self._callers: OrderedDict[str, _Caller] = OrderedDict()  # who was refused lately, last
        self._held: set[asyncio.Future[None]] = set()
        self._is_closed = False

    @property
    def held(self) -> int:
        """How many wait to be told."""
        return len(self._held)

    async def of_call(self, call: Call, refusal: FeatsvcError) -> FeatsvcError:
        """What a call is told, when that is to be told; it should have no place and no message any more."""
        wait_s = self._wait_s(call, refusal)
        if not call.is_relayed:
            return await self._told(refusal, wait_s)
        # The shim waits by itself: here its other callers would lack the connections.
        call.hold_s = wait_s
        return _told_after(refusal, wait_s)

    async def of_question(self, call: Call, refusal: FeatsvcError) -> FeatsvcError:
        """The same of a question of a stream."""
        return await self._told(refusal, self._wait_s(call, refusal))

    async def turn(self, call: Call) -> None:
        """Waits until a stream may be read on: where many questions of a caller are refused, its streams take turns."""
        own = self._callers.get(call.caller.name)
        if own is None or self._is_closed or not (own.readers or own.told_until > time.monotonic()):
            return
        reader = asyncio.get_running_loop().create_future()
        own.readers.append(reader)
        self._time_turn(own)
        await reader

    def answered(self, call: Call) -> None:
        """A question of a stream is answered: another may have its place."""
        if own := self._callers.get(call.caller.name):
            own.let_one()

    def close(self) -> None:
        """Tells all at once from now on, and has nobody wait: the server is shutting down."""
        self._is_closed = True
        for held in self._held:
            _wake(held)
        for own in self._callers.values():
            while own.readers:
                own.let_one()

    def _time_turn(self, own: _Caller) -> None:
        """Sees to the next turn while somebody waits for it."""
        if own.readers and not own.has_timer:
            own.has_timer = True
            asyncio.get_running_loop().call_later(self._interval_s, self._next_turn, own)

    def _next_turn(self, own: _Caller) -> None:
        own.has_timer = False
        own.let_one()
        self._time_turn(own)

    async def _told(self, refusal: FeatsvcError, wait_s: float) -> FeatsvcError:
        if wait_s <= 0 or len(self._held) >= self._most:
            return refusal
        loop, began = asyncio.get_running_loop(), time.monotonic()
        held = loop.create_future()
        self._held.add(held)
        timer = loop.call_later(wait_s, _wake, held)
        try:
            await held
        finally:
            timer.cancel()
            self._held.discard(held)
        return _told_after(refusal, time.monotonic() - began)

    def _wait_s(self, call: Call, refusal: FeatsvcError) -> float:
        """How long a refusal waits, mostly not at all."""
        if not (self._interval_s and call.caller.name and isinstance(refusal, Overloaded)) or self._is_closed:
            return 0.0
        now, own = time.monotonic(), self._callers.setdefault(call.caller.name, _Caller())
        self._callers.move_to_end(call.caller.name)
        if len(self._callers) > MOST_CALLERS:
            self._forget_oldest()
        own.told_until = max(own.told_until, now - BURST_S) + self._interval_s
        own.told_until = min(own.told_until, now + LONGEST_S)
        wait_s = min(own.told_until - now, refusal.retry_after_ms / 1000)
        if call.deadline is not None:
            wait_s = min(wait_s, (call.deadline - now) / TIME_PART)
        return max(0.0, wait_s)

    def _forget_oldest(self) -> None:
        _, oldest = self._callers.popitem(last=False)
        while oldest.readers:
            oldest.let_one()


def _wake(held: asyncio.Future[None]) -> None:
    if not held.done():
        held.set_result(None)


def _told_after(refusal: FeatsvcError, seconds: float) -> FeatsvcError:
    """The refusal as it is told later: its time to wait has begun already."""
    return refusal.told_after(seconds) if isinstance(refusal, Overloaded) and seconds > 0 else refusal
