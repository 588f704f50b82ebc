"""A gate at which work in a worker process waits until the test lets it through. Two FIFOs, so nobody polls."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType


class Gate:
    """Pass `str(gate)` to an item; then await `reached()` and call `let_through()`."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._ends = {}
        for end in ("arrived", "passes"):
            os.mkfifo(f"{path}.{end}")
            # Read and write: opening never blocks, and the FIFO outlives a worker that dies at the gate.
            self._ends[end] = os.open(f"{path}.{end}", os.O_RDWR | os.O_NONBLOCK)

    def __str__(self) -> str:
        return self._path

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends.values():
            os.close(end)

    async def reached(self, times: int = 1) -> None:
        """Wait until so many have arrived."""
        loop, end = asyncio.get_running_loop(), self._ends["arrived"]
        for _ in range(times):
            readable = loop.create_future()
            loop.add_reader(end, _set, readable)
            await readable
            loop.remove_reader(end)
            os.read(end, 1)

    def let_through(self, times: int = 1) -> None:
        """Open for so many."""
        os.write(self._ends["passes"], b"." * times)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
