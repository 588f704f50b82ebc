"""Whose turn a process's GPU is: that of the thread that computes, or of one that captures a graph.

A capture is broken by whoever waits for the whole device or gives its memory back meanwhile, and it freezes how
float32 is multiplied at the moment, which `unrounded` changes for all threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GpuTurns:
    """One thread at a time; who captures goes before who computes, for a capture is short."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None
        """The thread whose turn it is."""
        self._depth = 0
        """How many blocks it is in."""
        self._captures = 0
        """Those that are made or waited for."""
        self._is_capturing = False
        """Whether it is the turn of a capture."""

    @property
    def has_captures(self) -> bool:
        """Whether any is made, or waited for."""
        return self._captures > 0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within the block nothing is captured, but while `give_way` waits. A thread may be in several."""
        with self._changed:
            if self._owner != threading.get_ident():
                self._wait_for_captures()
            self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Within the block no other thread computes."""
        with self._changed:
            self._captures += 1
            self._changed.wait_for(lambda: self._owner in (None, threading.get_ident()))
            self._enter()
            self._is_capturing = True
        try:
            yield
        finally:
            with self._changed:
                self._captures -= 1
                self._is_capturing = False
            self._leave()

    @contextmanager
    def between_captures(self) -> Iterator[None]:
        """Within the block no other thread captures; waits for the end of a capture, but never for who computes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_capturing or self._owner == threading.get_ident())
            yield

    def give_way(self) -> None:
        """Lets captures that wait be made, in the middle of a long computation of this thread."""
        with self._changed:
            if not self._captures or self._owner != threading.get_ident():
                return
            depth, self._depth, self._owner = self._depth, 0, None
            self._changed.notify_all()
            self._wait_for_captures()
            self._owner, self._depth = threading.get_ident(), depth

    def _wait_for_captures(self) -> None:
        self._changed.wait_for(lambda: self._owner is None and not self._captures)

    def _enter(self) -> None:
        self._owner = threading.get_ident()
        self._depth += 1

    def _leave(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
            self._changed.notify_all()


TURNS = GpuTurns()
"""Of this process, as what torch has set and captures is."""
