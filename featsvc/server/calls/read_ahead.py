"""How much of each caller is received before workers take it; what is more waits unread, at its sender.

gRPC copies a large message on the event loop, which answers nobody meanwhile: a caller that sends many is to cost
others that only as often as workers take one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, takewhile

from featsvc.errors import DeadlineExceeded
from featsvc.server.calls.call import Call
from featsvc.server.calls.deadlines import Deadlines
from featsvc.server.calls.message_sizes import Expected
from featsvc.work.caller import Caller

# So long does a call count that receives: a slow one would keep the others of its caller waiting.
EXPECTED_S = 2.0
# So often is one received that may be small, though there is no room for a large one: a click among pictures.
PACE_S = 0.1
CheckRoom = Callable[[Caller, int, int], None]


@dataclass(eq=False)
class _Message:
    """One that is to come."""

    order: tuple[int, float, int]
    """The highest priority first, then the oldest deadline, then by arrival: as in the queue."""
    expected: Expected
    turn: asyncio.Future[None]
    since: float = 0.0
    """When its turn came."""

    @property
    def announced_bytes(self) -> int:
        """What it is sure to have."""
        return 0 if self.expected.may_be_small else self.expected.nbytes


@dataclass(eq=False)
class _Ahead:
    """The large messages of a caller, by their calls."""

    name: str
    """Of the caller when the first of them came; its key may have another by now."""
    waiting: dict[Call, _Message] = field(default_factory=dict)
    receiving: dict[Call, _Message] = field(default_factory=dict)
    """The latest last."""
    received: dict[Call, int] = field(default_factory=dict)
    """Those that no worker has taken yet."""
    paced_at: float = 0.0
    """When the latest was received for which there was no room."""
    look_again: asyncio.TimerHandle | None = None
    """For when one that receives counts no longer, or the next one may be received that may be small."""

    def coming(self, now: float) -> Iterator[_Message]:
        """Those that began to receive not long ago."""
        return takewhile(lambda each: each.since > now - EXPECTED_S, reversed(self.receiving.values()))

    def announced(self, now: float) -> list[_Message]:
        """Those that are to come."""
        return [*self.coming(now), *self.waiting.values()]

    def leaves_room(self, nbytes: int, most: int, now: float) -> bool:
        """Whether so much more may be received, of at most so much in all; a single one always may.

        While none waits for a worker, two may come beside each other, for workers are not to wait for a slow network.
        """
        held = sum(each.expected.nbytes for each in self.coming(now)) + sum(self.received.values())
        if not self.received:
            most = max(most, 2 * nbytes)
        return not held or held + nbytes <= most

    def may_be_small(self) -> list[Call]:
        """The calls that wait and may have small messages."""
        return [call for call, message in self.waiting.items() if message.expected.may_be_small]

    def most_urgent(self, calls: Iterable[Call]) -> Call:
        """The one of them that comes next."""
        return min(calls, key=lambda each: self.waiting[each].order)

    def begin(self, call: Call, now: float) -> None:
        """Has a call that waits receive its message."""
        message = self.receiving[call] = self.waiting.pop(call)
        message.since = now
        if not message.turn.done():
            message.turn.set_result(None)


class ReadAhead:
    """The large messages of all callers, each of which has at most `most_bytes` of them on the way to the workers.

    `check_room` raises Overloaded where bytes find no place in the queue, behind so many announced ones of the caller.
    """

    def __init__(self, check_room: CheckRoom, most_bytes: Callable[[], int], deadlines: Deadlines) -> None:
        self._check_room = check_room
        self._most_bytes = most_bytes
        self._deadlines = deadlines
        self._of: dict[str, _Ahead] = {}
        # Where each call counts: its key may have another name by now.
        self._entered: dict[Call, _Ahead] = {}
        self._arrivals = count(1)

    async def turn(self, call: Call, expected: Expected) -> None:
        """Returns when a call may receive so much.

        Raises Overloaded where that, and what else its caller is about to send, finds no place in the queue, and
        DeadlineExceeded where its turn does not come in time.
        """
        now, name, due = time.monotonic(), call.caller.name, self._deadlines.of(call)
        ahead = self._of.get(name) or _Ahead(name)
        order = -call.priority, due, next(self._arrivals)
        message = _Message(order, expected, asyncio.get_running_loop().create_future())
        announced = ahead.announced(now)
        nbytes = message.announced_bytes + sum(each.announced_bytes for each in announced)
        self._check_room(call.caller, nbytes, len(announced))
        self._of[name] = self._entered[call] = ahead
        ahead.waiting[call] = message
        self._next_turns(ahead)
        if message.turn.done():
            return
        try:
            async with asyncio.timeout(due - now):
                await message.turn
        except TimeoutError:
            refusal = self._deadlines.refusal(call, due)
            raise refusal or DeadlineExceeded("the deadline passed before the message was received") from None
        call.unread_s = time.monotonic() - now

    def received(self, call: Call, nbytes: int) -> None:
        """The message of a call is here, and counts until `let_go`."""
        ahead = self._entered.get(call)
        if ahead is None:
            name = call.caller.name
            ahead = self._entered[call] = self._of.setdefault(name, _Ahead(name))
        ahead.receiving.pop(call, None)
        ahead.received[call] = nbytes
        self._next_turns(ahead)  # it may be smaller than expected

    def let_go(self, call: Call) -> None:
        """A worker has taken what a call asks, or the call has ended. Comes more than once, and of every call."""
        if not self._entered or (ahead := self._entered.pop(call, None)) is None:
            return
        ahead.waiting.pop(call, None)
        ahead.receiving.pop(call, None)
        ahead.received.pop(call, None)
        self._next_turns(ahead)

    def waiting(self) -> Iterator[Call]:
        """The calls whose messages are not to be received yet."""
        return chain.from_iterable(ahead.waiting for ahead in self._of.values())

    @property
    def waiting_count(self) -> int:
        """How many they are."""
        return sum(len(ahead.waiting) for ahead in self._of.values())

    def _next_turns(self, ahead: _Ahead) -> None:
        now = time.monotonic()
        while ahead.waiting:
            call = ahead.most_urgent(ahead.waiting)
            if not ahead.leaves_room(ahead.waiting[call].expected.nbytes, self._most_bytes(), now):
                break
            ahead.begin(call, now)
        small = ahead.may_be_small()
        if small and now >= ahead.paced_at + PACE_S:
            ahead.paced_at = now
            ahead.begin(ahead.most_urgent(small), now)
        if ahead.waiting and (ahead.receiving or small) and ahead.look_again is None:
            ahead.look_again = asyncio.get_running_loop().call_later(PACE_S, self._look, ahead)
        if not (ahead.waiting or ahead.receiving or ahead.received):
            del self._of[ahead.name]

    def _look(self, ahead: _Ahead) -> None:
        ahead.look_again = None
        if self._of.get(ahead.name) is ahead:
            self._next_turns(ahead)
