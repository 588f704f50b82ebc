"""What runs while a long pass pauses: short work that others wait for, for at most half of the time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")

PAUSE_S = 0.2
"""How long a pass computes before it first looks at what waits."""
TELL_S = 1.0
"""How often the pool hears that a long batch goes on."""
LONG_S = 1.0
"""Work that takes longer than this does not hold a place while other work computes."""
FIRST_RATE = 2e-11
"""Seconds for an operation in floating point, until some pass has shown it."""
SMOOTHING = 0.3
LEAST_FLOP = 1e6
LEAST_S = 1e-4


class WorkQueue(Generic[W]):
    """Work that is ready, oldest first; any thread may put some."""

    def __init__(self) -> None:
        self._waiting: deque[W] = deque()
        self._changed = threading.Condition()

    def put(self, work: W) -> None:
        """At the end."""
        with self._changed:
            self._waiting.append(work)
            self._changed.notify()

    def put_back(self, work: W) -> None:
        """At the front, where it was."""
        with self._changed:
            self._waiting.appendleft(work)
            self._changed.notify()

    def take(self) -> W:
        """The oldest, as soon as there is one."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            return self._waiting.popleft()

    def take_first(self, suits: Callable[[W], bool]) -> W | None:
        """The oldest that suits, if there is one now."""
        if not self._waiting:
            return None
        with self._changed:
            found = next((work for work in self._waiting if suits(work)), None)
            if found is not None:
                self._waiting.remove(found)
            return found

    def now(self) -> tuple[W, ...]:
        """All of it."""
        if not self._waiting:
            return ()
        with self._changed:
            return tuple(self._waiting)


class Rates:
    """How long operations take, learned from those that were computed."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], float] = {}
        self._latest = FIRST_RATE

    def seconds(self, key: tuple[str, str], flop: float) -> float:
        """How long so much arithmetic of an operation and a model will take, about."""
        return max(LEAST_S, flop * self._rates.get(key, self._latest))

    def learn(self, key: tuple[str, str], flop: float, seconds: float) -> None:
        """Take note of how long it took."""
        if flop < LEAST_FLOP:
            return
        rate = seconds / flop
        known = self._rates.get(key, rate)
        self._rates[key] = self._latest = known + SMOOTHING * (rate - known)


class Clock:
    """The time of one pass: its own, and that of its pauses."""

    def __init__(self) -> None:
        self.began_at = self._resumed = time.monotonic()
        self.paused_s = 0.0
        self._told_at: float | None = None

    @property
    def own_s(self) -> float:
        """What it has taken without its pauses."""
        return time.monotonic() - self.began_at - self.paused_s

    @property
    def earned_s(self) -> float:
        """What it has computed since its last pause: others may have as much."""
        return time.monotonic() - self._resumed

    def resume(self, paused_at: float) -> None:
        """A pause that began then is over."""
        self._resumed = time.monotonic()
        self.paused_s += self._resumed - paused_at

    def is_to_tell(self) -> bool:
        """Whether the pool shall hear of it again; true once, then not for a while."""
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < TELL_S:
            return False
        self._told_at = now
        return True
