"""How many questions are under way: one more for each round that goes well, half as many when the server refuses.

Additive increase and multiplicative decrease, as TCP does: several such clients come to share a server evenly
(Chiu and Jain 1989, "Analysis of the increase and decrease algorithms for congestion avoidance").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

START = 4


class Limiter:
    """The places for questions."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._limit = float(min(START, most))
        self._open = 0
        self._changed = asyncio.Event()
        self._last_cut = clock()
        self.last_answer = clock()
        """When the server last showed that it works."""

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return int(self._limit)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds that a change of the places may bring about."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def changed(self) -> None:
        """Wakes those who wait."""
        self._changed.set()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """A place for one attempt; gives the time at which it began."""
        await self.until(lambda: self._open < self.limit)
        self._open += 1
        try:
            yield self._clock()
        finally:
            self._open -= 1
            self.changed()

    def answered(self) -> None:
        """Takes note of an answer."""
        self.last_answer = self._clock()
        self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def refused(self, began: float) -> None:
        """Takes note that the server has no room; refusals of one round count once."""
        if began > self._last_cut:
            self._last_cut = self._clock()
            self._limit = max(1.0, self._limit / 2)
