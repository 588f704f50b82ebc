"""How much of each caller is received before workers take it; what is more waits unread, at its sender.

gRPC copies a large message on the event loop, which answers nobody meanwhile: a caller that sends many is to cost
others that only as often as workers take one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, takewhile

from featsvc.server.calls.call import Call
from featsvc.work.caller import Caller

# So long does a call count that receives: a slow one would keep the others of its caller waiting.
EXPECTED_S = 2.0


@dataclass(frozen=True)
class _Waiting:
    """A call whose message is not to be received yet."""

    order: tuple[int, float, int]
    """The highest priority first, then the oldest deadline, then by arrival: as in the queue."""
    nbytes: int
    turn: asyncio.Future[None]


@dataclass
class _Ahead:
    """The large messages of a caller, by their calls."""

    waiting: dict[Call, _Waiting] = field(default_factory=dict)
    receiving: dict[Call, tuple[float, int]] = field(default_factory=dict)
    """Since when, and how much; the latest last."""
    received: dict[Call, int] = field(default_factory=dict)
    """Those that no worker has taken yet."""
    look_again: asyncio.TimerHandle | None = None
    """For when one that receives counts no longer."""

    def coming(self, now: float) -> int:
        """Bytes of those that began to receive not long ago."""
        latest = takewhile(lambda each: each[0] > now - EXPECTED_S, reversed(self.receiving.values()))
        return sum(nbytes for _, nbytes in latest)

    def announced(self, now: float) -> int:
        """Bytes that are to come."""
        return self.coming(now) + sum(each.nbytes for each in self.waiting.values())

    def leaves_room(self, nbytes: int, most: int) -> bool:
        """Whether so much more may be received, of at most so much in all; a single one always may."""
        held = self.coming(time.monotonic()) + sum(self.received.values())
        return not held or held + nbytes <= most


class ReadAhead:
    """The large messages of all callers, each of which has at most `most_bytes` of them on the way to the workers.

    `check_room` raises Overloaded where bytes find no place in the queue.
    """

    def __init__(
        self, check_room: Callable[[Caller, int], None] | None, most_bytes: Callable[[], int]
    ) -> None:
        self._check_room = check_room
        self._most_bytes = most_bytes
        self._of: dict[str, _Ahead] = {}
        self._arrivals = count(1)

    async def turn(self, call: Call, expected: int) -> None:
        """Returns when a call may receive so much.

        Raises Overloaded where that, and what else its caller is about to send, finds no place in the queue.
        """
        now, ahead = time.monotonic(), self._of.get(call.caller.name) or _Ahead()
        if self._check_room is not None:
            self._check_room(call.caller, ahead.announced(now) + expected)
        deadline = float("inf") if call.deadline is None else call.deadline
        order = -call.priority, deadline, next(self._arrivals)
        waiting = _Waiting(order, expected, asyncio.get_running_loop().create_future())
        self._of[call.caller.name] = ahead
        ahead.waiting[call] = waiting
        self._next_turns(call.caller.name)
        await waiting.turn

    def received(self, call: Call, nbytes: int) -> None:
        """The message of a call is here, and counts until `let_go`."""
        ahead = self._of.setdefault(call.caller.name, _Ahead())
        ahead.receiving.pop(call, None)
        ahead.received[call] = nbytes

    def let_go(self, call: Call) -> None:
        """A worker has taken what a call asks, or the call has ended. Comes more than once, and of every call."""
        if not self._of or (ahead := self._of.get(call.caller.name)) is None:
            return
        for calls in (ahead.waiting, ahead.receiving, ahead.received):
            calls.pop(call, None)
        self._next_turns(call.caller.name)

    def waiting(self) -> Iterator[Call]:
        """The calls whose messages are not to be received yet."""
        return chain.from_iterable(ahead.waiting for ahead in self._of.values())

    def _next_turns(self, name: str) -> None:
        ahead = self._of[name]
        while ahead.waiting:
            call = min(ahead.waiting, key=lambda each: ahead.waiting[each].order)
            if not ahead.leaves_room(ahead.waiting[call].nbytes, self._most_bytes()):
                break
            waiting = ahead.waiting.pop(call)
            ahead.receiving[call] = time.monotonic(), waiting.nbytes
            if not waiting.turn.done():
                waiting.turn.set_result(None)
        if ahead.waiting and ahead.receiving and ahead.look_again is None:
            loop = asyncio.get_running_loop()
            ahead.look_again = loop.call_later(EXPECTED_S, self._look, name, ahead)
        if not (ahead.waiting or ahead.receiving or ahead.received):
            del self._of[name]

    def _look(self, name: str, ahead: _Ahead) -> None:
        ahead.look_again = None
        if self._of.get(name) is ahead:
            self._next_turns(name)
