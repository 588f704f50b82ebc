"""Messages over a Unix socket; whatever is large travels beside them in shared memory, written once.

A frame is a header and a body. The body is a pickled message; or, where that is large, the pickled place of it in a
segment: the pickle stream first, then each large buffer; or the number of a segment that is given back.
The reader unpickles with views into the segment, so nothing is copied out of it.
"""

from __future__ import annotations

import os
import pickle
import queue
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from featsvc.pool.segments import Borrowed, Shelf

HEADER = struct.Struct("<IB")  # bytes of the body, Kind
RETURN = struct.Struct("<Q?")  # segment, and whether the reader keeps it mapped
LARGE_BYTES = 64 * 1024
ALIGNMENT = 64
AT_ONCE = 64  # messages in one write
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Kind(IntEnum):
    """What the body of a frame is."""

    MESSAGE = 0
    IN_SEGMENT = 1
    IN_NEW_SEGMENT = 2  # whose file comes along
    RETURNED = 3


@dataclass(frozen=True)
class _Unused:
    """A segment of the peer that nothing here refers to any more."""

    segment: int


class _Stream:
    """A file for the pickler that keeps references to large bytes objects where a BytesIO would copy them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.nbytes = 0

    def write(self, part: bytes | memoryview) -> int:
        self.parts.append(part if isinstance(part, bytes) else bytes(part))
        self.nbytes += len(part)
        return len(part)


class Link:
    """One end of the socket: one thread sends what any thread posts, and one receives.

    With `large_last` small messages overtake large ones, each of which takes milliseconds to copy.
    """

    def __init__(self, sock: socket.socket, kept_bytes: int, large_last: bool = False) -> None:
        self._socket = sock
        self._large_last = large_last
        self._large: deque[tuple[_Stream, list[memoryview]]] = deque()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._shelf = Shelf()
        # Whatever thread lets go of a segment only posts that, for it may be anywhere in any code.
        outbox = self._outbox
        self._borrowed = Borrowed(kept_bytes, lambda segment: outbox.put(_Unused(segment)))
        self._inbox = bytearray()
        self._files: deque[int] = deque()

    def post(self, message: object) -> None:
        """Have a message sent; lost if the peer is dying, which `receive` then tells."""
        self._outbox.put(message)

    def end(self) -> None:
        """Have `send_all` return when it has sent what was posted before."""
        self._outbox.put(None)

    def send_all(self, on_unsendable: Callable[[Any], None]) -> None:
        """Send what is posted, until `end`. Raises OSError when the peer is gone.

        A message that cannot be pickled goes to `on_unsendable`, within the handling of its error.
        """
        ended = False
        while not ended:
            batch, ended = self._posted()
            self._send(batch, on_unsendable)
            del batch  # its arrays must not wait for the next message
            while self._large and (ended or self._outbox.empty()):
                self._send_large(*self._large.popleft())

    def receive(self) -> list[Any]:
        """The next messages, at least one; blocks, and raises EOFError when the peer is gone.

        Their arrays are read-only.
        """
        messages: list[Any] = []
        while not messages:
            block, files, _, _ = socket.recv_fds(self._socket, 2 * LARGE_BYTES, 4, CLOSE_ON_EXEC)
            if not block:
                raise EOFError("the peer is gone")
            self._inbox += block
            self._files += files
            messages = self._complete()
        return messages

    def close(self) -> None:
        """Close the socket, and let go of all memory that no message refers to."""
        self._socket.close()
        self._shelf.clear()
        self._borrowed.clear()
        while self._files:
            os.close(self._files.popleft())

    def _posted(self) -> tuple[list[Any], bool]:
        """The next messages to send, at least one, and whether they are the last; blocks."""
        batch: list[Any] = []
        while True:
            message = self._outbox.get()
            if message is None:
                return batch, True
            batch.append(message)
            if len(batch) >= AT_ONCE or self._outbox.empty():
                return batch, False

    def _send(self, batch: list[Any], on_unsendable: Callable[[Any], None]) -> None:
        frames = bytearray()
        for message in batch:
            if isinstance(message, _Unused):
                kept = self._borrowed.give_back(message.segment)
                frames += _frame(Kind.RETURNED, RETURN.pack(message.segment, kept))
                continue
            try:
                stream, buffers = _pickled(message)
            except Exception:  # pickling runs code of the message's classes
                on_unsendable(message)
                continue
            if not buffers and stream.nbytes < LARGE_BYTES:
                frames += _frame(Kind.MESSAGE, b"".join(stream.parts))
                continue
            self._large.append((stream, buffers))
            if not self._large_last:
                # What is small and came before must not wait for the copy.
                self._socket.sendall(frames)
                frames.clear()
                self._send_large(*self._large.popleft())
        self._socket.sendall(frames)

    def _send_large(self, stream: _Stream, buffers: list[memoryview]) -> None:
        spans, end = [], stream.nbytes
        for view in buffers:
            begin = -(-end // ALIGNMENT) * ALIGNMENT
            end = begin + len(view)
            spans.append((begin, end))
        segment = self._shelf.take(end)
        offset = 0
        for part in stream.parts:
            segment.write(offset, part)
            offset += len(part)
        for (begin, _), view in zip(spans, buffers, strict=True):
            segment.write(begin, view)
        place = pickle.dumps((segment.id, stream.nbytes, spans))
        if segment.fd is None:
            self._socket.sendall(_frame(Kind.IN_SEGMENT, place))
            return
        frame = _frame(Kind.IN_NEW_SEGMENT, place)
        try:
            sent = socket.send_fds(self._socket, [frame], [segment.fd])
            self._socket.sendall(frame[sent:])
        finally:
            segment.close_file()

    def _complete(self) -> list[Any]:
        """The messages that are here whole."""
        messages, begin, inbox = [], 0, bytes(self._inbox)
        while begin + HEADER.size <= len(inbox):
            nbytes, kind = HEADER.unpack_from(inbox, begin)
            end = begin + HEADER.size + nbytes
            if end > len(inbox):
                break
            body, begin = inbox[begin + HEADER.size : end], end
            if kind == Kind.RETURNED:
                self._shelf.put_back(*RETURN.unpack(body))
            elif kind == Kind.MESSAGE:
                messages.append(pickle.loads(body))
            else:
                messages.append(self._mapped(kind == Kind.IN_NEW_SEGMENT, *pickle.loads(body)))
        del self._inbox[:begin]
        return messages

    def _mapped(self, new: bool, segment: int, stream_bytes: int, spans: list[tuple[int, int]]) -> Any:
        if new:
            fd = self._files.popleft()
            try:
                self._borrowed.add(segment, fd)
            finally:
                os.close(fd)
        view = self._borrowed.view(segment)
        return pickle.loads(view[:stream_bytes], buffers=[view[begin:end] for begin, end in spans])


def _frame(kind: Kind, body: bytes) -> bytes:
    return HEADER.pack(len(body), kind) + body


def _pickled(message: object) -> tuple[_Stream, list[memoryview]]:
    """The stream, and the large buffers that stay where they are."""
    stream, buffers = _Stream(), []

    def keeps_inline(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE_BYTES:
            return True
        buffers.append(buffer.raw())
        return False

    pickle.Pickler(stream, protocol=5, buffer_callback=keeps_inline).dump(message)
    return stream, buffers
