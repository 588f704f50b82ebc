"""What a worker has freed goes back to the system when it is not soon needed again."""

from __future__ import annotations

import time
from collections.abc import Callable

from featsvc.memory import resident_bytes, trim
from featsvc.pool.worker.open_items import OpenItems
from featsvc.processes import keep_all_blocks

WORTH_FREEING_AT_WORK = 1 << 30
"""A worker that always has something to do needs most of its memory again; more than this is of a rare moment."""


def give_back(items: OpenItems, trim_engines: Callable[[], None], after_s: float) -> None:
    """Gives back what the C library keeps, for ever: once when nothing came for `after_s`, and much at any time.

    What engines keep, only when nothing came: to take pinned memory anew holds up a GPU.
    """
    kept, seen, trimmed, rested = resident_bytes(), 0, 0, 0
    while True:
        time.sleep(after_s)
        count = items.count
        is_idle = items.is_empty and count == seen
        seen = count
        if is_idle and count != rested:
            trim_engines()
            rested = count
        if count != trimmed and (is_idle or resident_bytes() - kept > WORTH_FREEING_AT_WORK):
            trim(keep_all_blocks)
            kept, trimmed = resident_bytes(), count
