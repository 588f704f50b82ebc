"""Which calls are let in, which give way to others, and how much memory messages may take while they arrive.

gRPC receives a message from the moment that it is asked for, and judges its length when all of it is there: a caller
may declare gigabytes, or stop just before the end. So a call is asked for its message only after its key was judged,
and what waits for its caller can be ended: when the first message is late, when others need the place, or when too
much has arrived that nobody can read yet. Which message the memory belongs to, gRPC does not tell; those that began to
arrive since memory was calm are the likely ones.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from featsvc.errors import DeadlineExceeded, FeatsvcError, Overloaded, RequestTooLarge, Unavailable
from featsvc.server.calls.call import Call
from featsvc.server.calls.memory import Memory
from featsvc.server.calls.message_sizes import MessageSizes
from featsvc.server.calls.places import KEPT_S, WAY_PART, Places, crowd_first
from featsvc.server.calls.read_ahead import ReadAhead

TICK_S = 0.05
RARELY_S = 1.0
# A call that has waited for less has had no time to receive much.
YOUNG_S = 0.02
# Of all that may be arriving, the part from which on nobody without a key is waited for.
KEYLESS_PART = 4
# Of the calls without a key, the part that one connection may have.
PEER_PART = 4
# What a message at work takes at most: its parsed form and its picture too; or a reply, also where gRPC sends it.
COPIES = 3
# gRPC refuses what is so many times larger than a request may be: what is less is refused in our words.
RECEIVED_PART = 2


@dataclass(frozen=True)
class AdmissionLimits:
    """How many calls and bytes there may be."""

    max_calls: int
    max_keyless_calls: int
    message_timeout_s: float
    max_receiving_bytes: int
    max_request_bytes: int


class Admission:
    """The open calls of a server; `watch` runs beside them."""

    def __init__(
        self,
        limits: AdmissionLimits,
        kept_bytes: Callable[[], int],
        read_ahead: ReadAhead,
    ) -> None:
        self._limits = limits
        self._sizes = MessageSizes()
        self._read_ahead = read_ahead
        self._kept_bytes = kept_bytes
        self._places = Places(limits.max_calls, self.end, self._is_idle)
        self._keyless: dict[Call, None] = {}
        self._keyless_peers: Counter[str] = Counter()
        self._waiting: dict[Call, float] = {}  # since when each waits for its caller, longest first
        self._calm_at = time.monotonic()
        self._reply_bytes = 0

    def enter(self, call: Call, is_stream: bool) -> None:
        """Let a call in, perhaps in place of others that wait for their callers; raises Overloaded where none does.

        A question without a key finds a place where a stream does not: probes are answered whoever watches.
        """
        if call.caller.name:
            self._places.enter(call)
            return
        calls, most = self._keyless, self._limits.max_keyless_calls
        of_peer = self._keyless_peers[call.peer]
        if of_peer * PEER_PART >= most:
            raise Overloaded.within(
                f"{of_peer} calls without a key are open over this connection, at most 1/{PEER_PART} of the {most} of "
                "all (--max-keyless-calls)"
            )
        self._keyless_peers[call.peer] += 1
        call.is_counted = True
        if len(calls) >= most:
            if not is_stream or next(iter(calls)).began < time.monotonic() - KEPT_S:
                self._make_way()
            if len(calls) >= most:
                raise self._crowded()
        calls[call] = None

    def leave(self, call: Call) -> None:
        """A call has ended."""
        self._read_ahead.let_go(call)
        if call.caller.name:
            self._places.leave(call)
        else:
            self._keyless.pop(call, None)
        if call.is_counted:
            call.is_counted = False
            self._keyless_peers[call.peer] -= 1
            if not self._keyless_peers[call.peer]:
                del self._keyless_peers[call.peer]

    def open_calls(self) -> dict[bool, int]:
        """How many there are, by whether they have a key."""
        return {True: len(self._places), False: len(self._keyless)}

    @property
    def unread_count(self) -> int:
        """How many calls wait for their turn to send a large message."""
        return self._read_ahead.waiting_count

    def with_key(self) -> list[Call]:
        """The open calls of callers who have a key."""
        return list(self._places)

    def end(self, call: Call, refusal: FeatsvcError) -> None:
        """Ends a call: its caller is told the refusal."""
        self._waiting.pop(call, None)
        call.end(refusal)

    def replies(self, call: Call, nbytes: int) -> None:
        """A call makes a large reply, which takes memory until it has been sent."""
        self._reply_bytes += nbytes

        def sent() -> None:
            self._reply_bytes -= nbytes

        call.when_done(sent)

    async def only_message(self, call: Call) -> bytes | None:
        """The only message of a call. One as large as the last alike is received when it is its caller's turn.

        Raises Overloaded where that would find no place, else what `message` raises.
        """
        if (expected := self._sizes.expected(call)) is not None:
            await self._read_ahead.turn(call, expected)
        message = await self.message(call)
        if message is not None and self._sizes.note(call, len(message)):
            self._read_ahead.received(call, len(message))
            call.on_taken = self._read_ahead.let_go
        elif expected is not None:
            self._read_ahead.let_go(call)
        return message

    async def message(self, call: Call) -> bytes | None:
        """The next message of a call, None after the last one; raises RequestTooLarge."""
        self._waiting[call] = time.monotonic()
        try:
            message = await call.read()
        finally:
            self._waiting.pop(call, None)
        if not isinstance(message, bytes):
            return None
        call.received(message)
        most = self._limits.max_request_bytes
        if len(message) > most:
            raise RequestTooLarge(
                f"the request has {len(message)} bytes, at most {most} (--max-request-bytes)"
            )
        return message

    async def watch(self) -> None:
        """Ends calls whose first message is late, and calls of which too much has arrived."""
        memory, due = Memory(), time.monotonic() + RARELY_S
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            # Asking what is allocated may take milliseconds, and is needed only where there is more than there was.
            if memory.grown_bytes() * KEYLESS_PART < self._limits.max_receiving_bytes:
                self._calm_at = now
            elif self._waiting:
                self._end_large(memory.allocated_more(), now)
            if now >= due:
                due = now + RARELY_S
                self._end_late(now)
                # What large messages take now, the next ones will need again.
                if self._sizes.are_small:
                    await memory.give_back()

    def _make_way(self) -> None:
        """Ends some without a key, also those that were answered and stay open."""
        calls = self._keyless
        ending = crowd_first(calls, lambda call: call.began)[: 1 + len(calls) // WAY_PART]
        for call, refusal in [(call, self._crowded()) for call in ending]:
            self.end(call, refusal)
            calls.pop(call)

    def _crowded(self) -> Overloaded:
        """What a call without a key is told that has no place."""
        most = self._limits.max_keyless_calls
        words = f"{len(self._keyless)} calls without a key are open, at most {most} (--max-keyless-calls)"
        return Overloaded.within(words)

    def _is_idle(self, call: Call) -> bool:
        """Whether it waits for its caller, and has no question open."""
        return call in self._waiting and not call.open_questions

    def close(self) -> None:
        """Ends what has no message yet: the server is shutting down."""
        for call in [*self._waiting, *self._read_ahead.waiting()]:
            if not call.messages_in:
                self.end(call, Unavailable("the server is shutting down"))

    def _end_late(self, now: float) -> None:
        oldest = now - self._limits.message_timeout_s
        for call, since in list(self._waiting.items()):
            if since > oldest:
                break
            if not call.messages_in:
                limit = f"{self._limits.message_timeout_s:g} s"
                self.end(call, DeadlineExceeded(f"no message came within {limit} (--message-timeout)"))

    def _end_large(self, more: int, now: float) -> None:
        limit = self._limits.max_receiving_bytes
        at_work = self._reply_bytes + sum(
            call.bytes_open for calls in (self._places, self._keyless) for call in calls
        )
        arriving = more - self._kept_bytes() - COPIES * at_work
        if arriving * KEYLESS_PART < limit:
            self._calm_at = now
            return
        waiting = [call for call, since in self._waiting.items() if since < now - YOUNG_S]
        ending = [call for call in waiting if not call.caller.name]
        if arriving > limit:
            asked = [call for call in waiting if call.caller.name]
            likely = [call for call in asked if self._waiting[call] >= self._calm_at - TICK_S]
            # Where those who wait now cannot have sent as much, it is still to be freed, or takes more copies.
            sending = next((each for each in (likely, asked) if self._may_send(each, arriving)), [])
            sending = crowd_first(sending, self._waiting.__getitem__)
            ending += sending[: (len(sending) + 1) // 2]
        words = f"about {arriving} bytes of messages arrive, at most {limit} (--max-receiving-bytes)"
        for call in ending:
            part = "" if call.caller.name else f", and 1/{KEYLESS_PART} of that where a call has no key"
            self.end(call, Overloaded.within(words + part))

    def _may_send(self, calls: list[Call], nbytes: int) -> bool:
        """Whether so much may be arriving of these calls, before gRPC refuses it."""
        return len(calls) * RECEIVED_PART * self._limits.max_request_bytes >= nbytes
