"""When a worker that died starts again."""

from __future__ import annotations

import time

from featsvc.pool.settings import PoolSettings


class Lives:
    """The deaths of one worker so far."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._failed_starts = 0
        self._young_deaths = 0
        self._ready_at: float | None = None

    def was_born(self) -> None:
        """The worker became ready."""
        self._failed_starts = 0
        self._ready_at = time.monotonic()

    def did_work(self) -> None:
        """The worker completed a batch: it does not die at once."""
        self._young_deaths = 0

    def restart_delay_s(self) -> float | None:
        """The worker died: seconds until it may start again; None when too many starts in a row failed."""
        s = self._settings
        born_at, self._ready_at = self._ready_at, None
        if born_at is None:
            self._failed_starts += 1
            if self._failed_starts >= s.max_failed_starts:
                return None
        old = born_at is not None and time.monotonic() - born_at >= s.healthy_after_s
        self._young_deaths = 0 if old else self._young_deaths + 1
        # The exponent is bounded so that the power stays a number.
        delay_s: float = s.restart_delay_s * 2 ** min(max(0, self._young_deaths - 1), 32)
        return min(delay_s, s.max_restart_delay_s)
