"""How much memory this process takes, and how what is not in use goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

# From here on, memory that is kept and not used is given back.
WORTH_FREEING = 32 * 1024 * 1024


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def allocated_bytes() -> int:
    """Bytes that are allocated now, be it by Python or by gRPC; 0 where the C library does not tell."""
    asked = _mallinfo()
    if asked is None:
        return 0
    info = asked()
    return int(info.uordblks + info.hblkhd)


class Memory:
    """The memory of this process beyond what it had when this was made."""

    def __init__(self) -> None:
        self._allocated = allocated_bytes()
        self._resident = self._kept = _resident_bytes()

    def grown_bytes(self) -> int:
        """How much more it has of the system."""
        return _resident_bytes() - self._resident

    def allocated_more(self) -> int:
        """How much more of that is in use."""
        return allocated_bytes() - self._allocated

    async def give_back(self) -> None:
        """Gives back what is not in use, where it is much: the C library keeps what came in small pieces.

        In a thread, for it takes milliseconds, and not while much is in use, which will be needed again.
        """
        if _resident_bytes() - self._kept > WORTH_FREEING and self.allocated_more() < WORTH_FREEING:
            await asyncio.to_thread(_trim)
            self._kept = _resident_bytes()


def _resident_bytes() -> int:
    """Memory of this process alone."""
    try:
        resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    except OSError:  # no Linux
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def _trim() -> None:
    # What is collected late is large where a request was: refusals hold on to what they refuse.
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


@cache
def _mallinfo() -> Any:  # Any: a function of the C library
    if sys.platform != "linux":
        return None
    try:
        asked = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # another C library, or one older than 2.33
        return None
    asked.restype = _Mallinfo
    return asked
