"""What runs while a long pass pauses: short work that others wait for, for at most half of the time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")
WorkKind = tuple[str, tuple[str, ...]]
"""What decides how long arithmetic takes and what memory it needs: the operation, and the networks in their order."""

PAUSE_S = 0.02
"""How long a pass computes before it first looks at what waits."""
TELL_FIRST_S = 0.2
"""How long until the pool hears that a batch goes on."""
TELL_S = 1.0
"""How often it hears so from then on."""
LONG_S = 1.0
"""Work that takes longer than this does not hold a place while other work computes."""
FIRST_RATE = 2e-11
"""Seconds for an operation in floating point, until some pass has shown it."""
SMOOTHING = 0.3
MOST_PASSED = 4
"""So many that go first are taken while others are ready, then one of these: or a crowd of callers with two requests
each, who go first with every other one, would make the rest wait for ever. A flood's batches meet fewer."""
LEAST_FLOP = 1e6
LEAST_S = 1e-4


class WorkQueue(Generic[W]):
    """Work that is ready: what goes first, then the rest, of each the oldest first. Any thread may put some.

    Of the rest one is next when `MOST_PASSED` have gone first while it was there.
    """

    def __init__(self) -> None:
        self._first: deque[W] = deque()
        self._rest: deque[W] = deque()
        self._passed = 0
        """How many that go first were taken since one of the rest was, while there were such."""
        self._changed = threading.Condition()

    def put(self, work: W, goes_first: bool = False) -> None:
        """At the end, of what goes first or of the rest."""
        with self._changed:
            (self._first if goes_first else self._rest).append(work)
            self._changed.notify()

    def put_back(self, work: W, goes_first: bool = False) -> None:
        """At the front, where it was, of what goes first or of the rest."""
        with self._changed:
            (self._first if goes_first else self._rest).appendleft(work)
            self._changed.notify()

    def take(self) -> W:
        """The next, as soon as there is one."""
        with self._changed:
            while not (self._first or self._rest):
                self._changed.wait()
            line = next(filter(None, self._lines()))
            self._note_taken(line)
            return line.popleft()

    def take_first(self, suits: Callable[[W], bool]) -> W | None:
        """The next that suits, if there is one now."""
        if not (self._first or self._rest):
            return None
        with self._changed:
            for line in self._lines():
                found = next((work for work in line if suits(work)), None)
                if found is not None:
                    self._note_taken(line)
                    line.remove(found)
                    return found
            return None

    def now(self) -> tuple[W, ...]:
        """All of it."""
        if not (self._first or self._rest):
            return ()
        with self._changed:
            return (*self._first, *self._rest)

    def _lines(self) -> tuple[deque[W], deque[W]]:
        """From which to take, and from which then."""
        return (self._first, self._rest) if self._passed < MOST_PASSED else (self._rest, self._first)

    def _note_taken(self, line: deque[W]) -> None:
        self._passed = self._passed + 1 if line is self._first and self._rest else 0


class Rates:
    """How long operations take, learned from those that were computed."""

    def __init__(self) -> None:
        self._rates: dict[WorkKind, float] = {}
        self._latest = FIRST_RATE

    def seconds(self, key: WorkKind, flop: float) -> float:
        """How long so much arithmetic of an operation and its models will take, about."""
        return max(LEAST_S, flop * self._rates.get(key, self._latest))

    def learn(self, key: WorkKind, flop: float, seconds: float) -> None:
        """Take note of how long it took."""
        if flop < LEAST_FLOP:
            return
        rate = seconds / flop
        known = self._rates.get(key, rate)
        self._rates[key] = self._latest = known + SMOOTHING * (rate - known)


class Clock:
    """The time of one pass: its own, and that of its pauses; and what the passes of its batch before it have had."""

    def __init__(self, before: Clock | None = None) -> None:
        self.began_at = time.monotonic()
        # Passes of a batch follow each other: what the one before has computed others have not had yet.
        self._resumed: float = self.began_at if before is None else before._resumed
        self.paused_s = 0.0
        self._before_s: float = 0.0 if before is None else before.batch_s
        self._told_at: float | None = None if before is None else before._told_at

    @property
    def own_s(self) -> float:
        """What it has taken without its pauses."""
        return time.monotonic() - self.began_at - self.paused_s

    @property
    def batch_s(self) -> float:
        """The same of all passes of its batch so far."""
        return self._before_s + self.own_s

    @property
    def earned_s(self) -> float:
        """What it has computed since the last pause, with those before it: others may have as much."""
        return time.monotonic() - self._resumed

    def resume(self, paused_at: float) -> None:
        """A pause that began then is over."""
        self._resumed = time.monotonic()
        self.paused_s += self._resumed - paused_at

    def is_to_tell(self) -> bool:
        """Whether the pool shall hear of its batch, or again; true once, then not for a while."""
        now = time.monotonic()
        if self._told_at is None:
            if self.batch_s < TELL_FIRST_S:
                return False
        elif now - self._told_at < TELL_S:
            return False
        self._told_at = now
        return True
