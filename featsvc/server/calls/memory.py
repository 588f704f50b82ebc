"""How much memory this process has taken since it was ready, and when what is not in use goes back to the system."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from featsvc.memory import allocated_bytes, resident_bytes, trim
from featsvc.pool.contract.job import AnyJob
from featsvc.processes import keep_large_blocks
from featsvc.server.calls.call import PROBES, STATUS, Call

# From here on, memory that is kept and not used is given back.
WORTH_FREEING = 32 * 1024 * 1024


class CountedWork:
    """The observer that counts calls and questions that have ended, but for looks at the server, which never stop."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, call: Call) -> None:
        """Nothing is counted before the end."""

    def on_end(self, ended: Call | AnyJob, code: str) -> None:
        """Counts a call, or a question, of which a stream has many."""
        is_look = isinstance(ended, Call) and ended.method.startswith((*PROBES, STATUS))
        self.count += not is_look


class Memory:
    """The memory of this process beyond what it had when this was made."""

    def __init__(self) -> None:
        self._allocated = allocated_bytes()
        self._resident = self._kept = resident_bytes()

    def grown_bytes(self) -> int:
        """How much more it has of the system."""
        return resident_bytes() - self._resident

    def allocated_more(self) -> int:
        """How much more of that is in use."""
        return allocated_bytes() - self._allocated

    async def give_back(self) -> None:
        """Gives back what is not in use, where it is much: the C library keeps what came in small pieces.

        In a thread, for it takes milliseconds.
        """
        resident = resident_bytes()
        self._kept = min(self._kept, resident)  # some goes back by itself
        if resident - self._kept <= WORTH_FREEING:
            return
        if self.grown_bytes() - self.allocated_more() > WORTH_FREEING:
            with suppress(RuntimeError):  # there may be no more threads: then later
                await asyncio.to_thread(trim, keep_large_blocks)
            self._kept = resident_bytes()
