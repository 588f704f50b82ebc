"""When those come back who were refused: told so that each finds a place, and that not all come at once."""

from __future__ import annotations

from collections import deque

GRACE_S = 5.0
"""So late may somebody be and still find the place that was held: clients add a pause of their own."""
LONGEST_S = 600.0
MOST = 4096
"""So many times are remembered; who is refused beyond that gets the last one."""


class ReturnTimes:
    """The times that were given out and have not been used, by a clock in seconds; each stands for one who comes back.

    They are places in a queue outside the queue: the first is as far away as the first free place, and each further
    one later by as long as it takes until another place is free.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def held(self, now: float) -> int:
        """How many are still to come back, be it a little late."""
        times = self._times
        while times and times[0] + GRACE_S < now:
            times.popleft()
        return len(times)

    def is_due(self, now: float) -> bool:
        """Whether one who comes now was told to."""
        return self.held(now) > 0 and self._times[0] <= now

    def came_back(self, now: float) -> bool:
        """The same; then its time is used."""
        if not self.is_due(now):
            return False
        self._times.popleft()
        return True

    def next(self, now: float, first_s: float, further_s: float) -> float:
        """The time for one more: `first_s` from now, but `further_s` after the last one that was given out."""
        time = now + first_s
        if self.held(now):
            time = max(time, self._times[-1] + further_s)
        time = min(time, now + LONGEST_S)
        if len(self._times) >= MOST:
            return max(time, self._times[-1])
        self._times.append(max(time, self._times[-1]) if self._times else time)
        return self._times[-1]
