"""Messages over a Unix socket; whatever is large travels beside them in shared memory, written once.

A frame is a header and a body. The body is a pickled message; or, where that is large, the pickled place of it in a
segment: the pickle stream first, then each large buffer; or the number of a segment that is given back.
The reader unpickles with views into the segment, so nothing is copied out of it.
"""

from __future__ import annotations

import errno
import os
import pickle
import socket
from collections import deque
from typing import Any

from featsvc.pool.transport.descriptors import Reserve, is_no_room
from featsvc.pool.transport.frames import HEADER, LARGE_BYTES, RETURN, Kind
from featsvc.pool.transport.sender import OnUnsendable, Sender
from featsvc.pool.transport.shared_memory import Borrowed, FreeList

TRUNCATED = getattr(socket, "MSG_CTRUNC", 0)
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Link:
    """One end of the socket: any thread posts, one thread sends what cannot go out at once, and one receives."""

    def __init__(
        self,
        sock: socket.socket,
        kept_bytes: int,
        large_last: bool = False,
        reserve: Reserve | None = None,
    ) -> None:
        self._socket = sock
        self._free = FreeList(reserve or Reserve(0))
        sender = self._sender = Sender(sock, self._free, large_last)
        self._borrowed = Borrowed(
            kept_bytes, lambda segment: sender.post_unused(segment, self._borrowed.give_back)
        )
        self._inbox = bytearray()
        self._files: deque[int | None] = deque()  # None for one that this process has no descriptor for

    def post(self, *messages: object) -> None:
        """Have messages sent; lost if the peer is dying, which `receive` then tells."""
        self._sender.post(*messages)

    def post_later(self, message: object) -> None:
        """The same for a message that takes long to pack: the sending thread does it."""
        self._sender.post_later(message)

    def end(self) -> None:
        """Have `send_all` return when it has sent what was posted before."""
        self._sender.end()

    def send_all(self, on_unsendable: OnUnsendable) -> None:
        """Send what is posted, until `end`. Raises OSError when the peer is gone.

        A message that cannot be pickled, or that there is no memory for, goes to `on_unsendable` with the error.
        """
        self._sender.send_all(on_unsendable)

    def receive(self) -> list[Any]:
        """The next messages, at least one; blocks, and raises EOFError when the peer is gone.

        Their arrays are read-only.
        """
        messages: list[Any] = []
        while not messages:
            block, files, flags, _ = socket.recv_fds(self._socket, 2 * LARGE_BYTES, 4, CLOSE_ON_EXEC)
            if not block:
                raise EOFError("the peer is gone")
            self._inbox += block
            self._files += files
            if flags & TRUNCATED:
                self._files.append(None)
            messages = self._complete()
        return messages

    def close(self) -> None:
        """Close the socket, and let go of all memory that no message refers to."""
        self._socket.close()
        self._free.clear()
        self._borrowed.clear()
        while self._files:
            if (fd := self._files.popleft()) is not None:
                os.close(fd)

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
                self._free.put_back(*RETURN.unpack(body))
            elif kind == Kind.MESSAGE:
                messages.append(pickle.loads(body))
            else:
                messages.append(self._mapped(kind == Kind.IN_NEW_SEGMENT, *pickle.loads(body)))
        del self._inbox[:begin]
        return messages

    def _mapped(
        self, new: bool, segment: int, stream_bytes: int, spans: list[tuple[int, int]], unread: object
    ) -> Any:
        try:
            if new:
                self._add(segment)
            view = self._borrowed.view(segment)
            return pickle.loads(view[:stream_bytes], buffers=[view[begin:end] for begin, end in spans])
        except (OSError, MemoryError) as error:
            if unread is None or not is_no_room(error):
                raise
            return unread

    def _add(self, segment: int) -> None:
        fd = self._files.popleft()
        try:
            if fd is None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._borrowed.add(segment, fd)
        except OSError:
            self._sender.post_unused(segment, _drop)
            raise
        finally:
            if fd is not None:
                os.close(fd)


def _drop(segment: int) -> bool:
    """What was never mapped is not kept."""
    return False
