"""Open files that are kept for the pool, and what it looks like when there are none."""

from __future__ import annotations

import errno
import os
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
