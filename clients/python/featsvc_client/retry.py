"""When a failed call is tried again, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from featsvc_client.errors import Failure

RETRIED = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff. Every call is a pure function of its request, so all may be tried again."""

    attempts: int = 5
    """Calls at most, the first included; 1 never tries again."""
    first_delay_s: float = 0.1
    factor: float = 2.0
    max_delay_s: float = 10.0
    jitter: float = 0.5
    """Part of each delay that is random, so that clients refused together do not come back together."""

    def delay_s(self, failed: int, failure: Failure, chance: float) -> float:
        """Seconds to wait after so many failures, never less than the server asks; `chance` is in [0, 1)."""
        # The exponent is bounded because a float is.
        backoff = min(self.first_delay_s * self.factor ** min(failed - 1, 60), self.max_delay_s)
        shortened = backoff * (1 - self.jitter * chance)
        if failure.retry_after_s is None:
            return shortened
        return max(shortened, failure.retry_after_s + backoff * self.jitter * chance)


RETRY = RetryPolicy()


class Attempts:
    """The attempts of one call, within its policy and its time.

    Patient ones do not count refusals that say when to come back: only time limits those.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        patient: bool = False,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._patient = patient
        self._end = None if timeout_s is None else clock() + timeout_s
        self._failed = 0

    def time_left_s(self) -> float | None:
        """Seconds until the deadline of the call; None without one."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def pause_s(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt; raises the error of the failure where there is none."""
        self._failed += not (self._patient and failure.retry_after_s is not None)
        if failure.code not in RETRIED or failure.reason or self._failed >= self._policy.attempts:
            raise failure.error()
        delay = self._policy.delay_s(max(self._failed, 1), failure, random.random())
        left = self.time_left_s()
        if left is not None and delay >= left:
            raise failure.error()
        return delay
