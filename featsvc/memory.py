"""The memory of this process: what it has of the system, what of that is in use, and how the rest goes back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from featsvc.processes import give_ends_back


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
    """Bytes that are allocated now, be it by Python or by a library; 0 where the C library does not tell."""
    asked = _mallinfo()
    if asked is None:
        return 0
    info = asked()
    return int(info.uordblks + info.hblkhd)


def resident_bytes() -> int:
    """Memory of this process alone; 0 where the system does not tell."""
    try:
        resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    except OSError:  # no Linux
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def trim(keep: Callable[[], None]) -> None:
    """Give memory that was freed back to the system, which takes milliseconds; `keep` is how it is kept afterwards."""
    # What is collected late is large where a request was: refusals hold on to what they refuse.
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, MemoryError):  # another C library, or none at all
            ctypes.CDLL(None).malloc_trim(0)
            try:
                give_ends_back()
            finally:
                keep()


async def trim_at_rest(work: Callable[[], int], after_s: float, keep: Callable[[], None]) -> None:
    """Trims once whenever the count of work has stayed as it was for `after_s` seconds; 0 never does.

    In a thread, for it takes milliseconds.
    """
    seen = trimmed = work()
    while after_s:
        await asyncio.sleep(after_s)
        count = work()
        if trimmed != count == seen:
            with suppress(RuntimeError):  # there may be no more threads: then later
                await asyncio.to_thread(trim, keep)
                trimmed = count
        seen = count


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
