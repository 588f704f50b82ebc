"""An admin's wish that the server finishes what it has, and ends."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from featsvc.pool.contract.protocol import Pool
from featsvc.server.services.open_services import HealthService

log = logging.getLogger("featsvc.server.services.drain")


class Drain:
    """Whether that is wished, and how long what runs and waits may take then."""

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._ends_at = math.inf
        self.asked = asyncio.Event()
        self.done = asyncio.Event()
        """Set when nothing is left to finish, or the time for it is over."""

    def ask(self, grace_s: float | None) -> None:
        """Wish it; what was said first stands."""
        if self.asked.is_set():
            return
        if grace_s is not None:
            self.grace_s = grace_s
        self._ends_at = time.monotonic() + self.grace_s
        self.asked.set()

    def left_s(self, most_s: float) -> float:
        """What the end of the server may take: so long at most, and no longer than was said to who wished it."""
        return min(most_s, max(0.0, self._ends_at - time.monotonic()))

    async def watch(self, checks: HealthService, closing: asyncio.Event, pool: Pool) -> None:
        """Takes no more work when it is wished, and tells when what there was is done."""
        await self.asked.wait()
        log.info("draining", extra={"grace_s": self.grace_s})
        checks.close()
        closing.set()
        await pool.drain(self.grace_s)
        self.done.set()
