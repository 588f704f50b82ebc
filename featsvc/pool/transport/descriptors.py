"""Open files that are kept for the pool, and what it looks like when there are none."""

from __future__ import annotations

import array
import errno
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
NO_ROOM = (*NONE_LEFT, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN)
T = TypeVar("T")


def is_no_room(error: BaseException) -> bool:
    """Whether this process, or its machine, had no descriptors, memory or threads left."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in NO_ROOM)


def received(sock: socket.socket, most_bytes: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """A packet, and the file that may come with it. Raises OSError where this process has no descriptor for that.

    `socket.recv_fds` of some versions of Python passes over its flags.
    """
    size = array.array("i").itemsize
    told, beside, found, _ = sock.recvmsg(most_bytes, socket.CMSG_LEN(size), flags | socket.MSG_CMSG_CLOEXEC)
    if found & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    files = array.array("i")
    for _, _, raw in beside:
        files.frombytes(raw)
    return told, list(files)


class Reserve:
    """Descriptors that connections cannot use up: the pool has them where there are no others. Any thread may call."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._spare: list[int] = []
        self._lock = threading.Lock()
        self._fill()

    def use(self, act: Callable[[], T]) -> T:
        """What `act` returns, which opens files; it is called again with the reserve where there are no others."""
        with self._lock:
            self._fill()
        try:
            return act()
        except OSError as error:
            if error.errno not in NONE_LEFT:
                raise
        with self._lock:
            self.close()
            try:
                return act()
            finally:
                self._fill()

    def close(self) -> None:
        """Let go of it."""
        while self._spare:
            os.close(self._spare.pop())

    def _fill(self) -> None:
        """What was used comes back as soon as there are free ones."""
        with suppress(OSError):
            while len(self._spare) < self._count:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
