"""What the gateway asks of its own process, whose one event loop serves everybody."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

SWITCH_S = 0.0005
ARENAS = 2
YOUNG_OBJECTS = 1_000  # what is frozen does not count, so going through the rest takes microseconds
M_ARENA_MAX = -8  # glibc's malloc.h


def tune() -> None:
    """Lets no thread hold the loop up for long, and keeps memory from spreading over threads."""
    # A thread that computes would keep the interpreter for Python's 5 ms.
    sys.setswitchinterval(SWITCH_S)
    # What has been made by now stays: going through all of it again and again takes tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    # glibc gives each thread memory of its own, which keeps growing where threads take turns with large requests.
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
