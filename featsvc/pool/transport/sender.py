"""The sending side of a link: at once where nothing is in the way, otherwise by a thread."""

from __future__ import annotations

import pickle
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from featsvc.pool.transport.frames import ALIGNMENT, RETURN, Kind, Packed, frame, packed
from featsvc.pool.transport.shared_memory import FreeList, Segment

MESSAGES_AT_ONCE = 64  # messages in one write
OnUnsendable = Callable[[Any, Exception], None]
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", None)  # without it all goes by the thread


@runtime_checkable
class Replaceable(Protocol):
    """A message that may stay unread."""

    def unread(self) -> object:
        """What the peer gets in its place."""


@dataclass(frozen=True)
class _Unused:
    """A segment of the peer that nothing here refers to any more; `give_back` tells whether it stays mapped."""

    segment: int
    give_back: Callable[[int], bool]


@dataclass(frozen=True)
class _Raw:
    """A message that is not packed yet."""

    message: object


_WAKE = object()  # posted where the thread has a rest to write


class Writer:
    """Writes to the socket from any thread, one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._rest = b""

    def writes_now(self, frames: bytes) -> bool:
        """Writes unless that would mean to wait; whether it did."""
        if DONT_WAIT is None or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._rest:
                return False
            # Of what the socket does not take whole, the rest goes out before all else.
            self._rest = frames[self._socket.send(frames, DONT_WAIT) :]
            return True
        except OSError:  # full, or closed by the peer, which the thread will find too
            return False
        finally:
            self._lock.release()

    @property
    def has_rest(self) -> bool:
        """Whether a part of what was written is still here."""
        return bool(self._rest)

    def write(self, frames: bytes, fds: tuple[int, ...] = ()) -> None:
        """Writes, with open files beside the first byte. Raises OSError when the peer is gone."""
        with self._lock:
            if self._rest:
                self._socket.sendall(self._rest)
                self._rest = b""
            if fds:
                frames = frames[socket.send_fds(self._socket, [frames], fds) :]
            if frames:
                self._socket.sendall(frames)


class Sender:
    """Sends what any thread posts, in order.

    With `large_last` small messages overtake large ones, each of which takes milliseconds to copy.
    """

    def __init__(self, sock: socket.socket, free: FreeList, large_last: bool) -> None:
        self._writer = Writer(sock)
        self._free = free
        self._large_last = large_last
        self._large: deque[Packed] = deque()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._posting = threading.Lock()
        self._behind = 0  # messages that those to come must not overtake

    def post(self, *messages: object) -> None:
        """Have messages sent; lost if the peer is dying.

        What is small goes out before this returns, where it can: to wake a thread for it takes longer.
        """
        posted = [_packed_or_raw(each) for each in messages]
        small = [_small(each) for each in posted if isinstance(each, Packed) and not each.is_large]
        with self._posting:
            at_once = len(small) == len(posted) and not self._behind
            if not (at_once and self._writer.writes_now(b"".join(small))):
                self._behind += len(posted)
                for each in posted:
                    self._outbox.put(each)
            elif self._writer.has_rest:
                self._outbox.put(_WAKE)

    def post_later(self, message: object) -> None:
        """The same for a message that takes long to pack: the thread does it."""
        with self._posting:
            self._behind += 1
            self._outbox.put(_Raw(message))

    def post_unused(self, segment: int, give_back: Callable[[int], bool]) -> None:
        """Have a segment given back. Takes no lock: whoever lets go of a segment may be anywhere in any code."""
        self._outbox.put(_Unused(segment, give_back))

    def end(self) -> None:
        """Have `send_all` return when it has sent what was posted before."""
        self._outbox.put(None)

    def send_all(self, on_unsendable: OnUnsendable) -> None:
        """Send what is posted, until `end`. Raises OSError when the peer is gone.

        A message that cannot be pickled, or that there is no memory for, goes to `on_unsendable` with the error.
        """
        ended = False
        while not ended:
            batch, ended = self._posted()
            self._send(batch, on_unsendable)
            del batch  # its arrays must not wait for the next message
            while self._large and (ended or self._outbox.empty()):
                self._send_large(self._large.popleft(), on_unsendable)

    def _posted(self) -> tuple[list[Any], bool]:
        """What to send next, at least one, and whether it is the last; blocks."""
        batch: list[Any] = []
        while True:
            posted = self._outbox.get()
            if posted is None:
                return batch, True
            batch.append(posted)
            if len(batch) >= MESSAGES_AT_ONCE or self._outbox.empty():
                return batch, False

    def _send(self, batch: list[Any], on_unsendable: OnUnsendable) -> None:
        frames, done = b"", 0
        for each in batch:
            posted = _packed_now(each, on_unsendable)
            done += isinstance(each, Packed | _Raw)
            match posted:
                case _Unused():
                    kept = posted.give_back(posted.segment)
                    frames += frame(Kind.RETURNED, RETURN.pack(posted.segment, kept))
                case Packed() if posted.is_large and self._large_last:
                    self._large.append(posted)
                case Packed() if posted.is_large:
                    # What is small and came before must not wait for the copy.
                    self._writer.write(frames)
                    frames = b""
                    self._send_large(posted, on_unsendable)
                case Packed():
                    frames += _small(posted)
        self._writer.write(frames)
        with self._posting:
            self._behind -= done

    def _send_large(self, large: Packed, on_unsendable: OnUnsendable) -> None:
        try:
            segment, place = self._written(large)
        except (OSError, MemoryError) as error:
            # Ours, and no fault of the peer, whose socket is not touched yet.
            on_unsendable(large.message, error)
            return
        if segment.fd is None:
            self._writer.write(frame(Kind.IN_SEGMENT, place))
            return
        try:
            self._writer.write(frame(Kind.IN_NEW_SEGMENT, place), (segment.fd,))
        finally:
            segment.close_file()

    def _written(self, large: Packed) -> tuple[Segment, bytes]:
        """The segment that holds the message, and what tells the peer where; with a word for where it cannot map it."""
        spans, end = [], large.stream_bytes
        for view in large.buffers:
            begin = -(-end // ALIGNMENT) * ALIGNMENT
            end = begin + len(view)
            spans.append((begin, end))
        segment = self._free.take(end)
        offset = 0
        for part in large.parts:
            segment.write(offset, part)
            offset += len(part)
        for (begin, _), view in zip(spans, large.buffers, strict=True):
            segment.write(begin, view)
        unread = large.message.unread() if isinstance(large.message, Replaceable) else None
        return segment, pickle.dumps((segment.id, offset, spans, unread))


def _packed_or_raw(message: object) -> Packed | _Raw:
    try:
        return packed(message)
    except Exception:  # pickling runs code of the message's classes; the thread tells of it
        return _Raw(message)


def _packed_now(posted: object, on_unsendable: OnUnsendable) -> object:
    """What was posted raw, packed; None if it cannot be. Anything else as it is."""
    if not isinstance(posted, _Raw):
        return posted
    try:
        return packed(posted.message)
    except Exception as error:  # as above
        on_unsendable(posted.message, error)
        return None


def _small(message: Packed) -> bytes:
    return frame(Kind.MESSAGE, b"".join(message.parts))
