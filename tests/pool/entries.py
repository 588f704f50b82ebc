"""A scheduler with waiting entries, and what a worker takes of them, without any process."""

from __future__ import annotations

from dataclasses import replace

from featsvc.pool.scheduler import Berth, Scheduler
from featsvc.pool.settings import PoolSettings
from featsvc.pool.waiting import Entry

SETTINGS = PoolSettings(max_batch_items=3, affinity_s=1.0)


def scheduler_with(*entries: Entry, **changes: object) -> Scheduler:
    """A scheduler for batches of three, where these wait."""
    scheduler = Scheduler(replace(SETTINGS, **changes))  # type: ignore[arg-type]
    for entry in entries:
        scheduler.admit(entry, workers=1)
    return scheduler


def taken(scheduler: Scheduler, berth: Berth, *others: Berth) -> list[Entry]:
    """The next batch of a worker."""
    batch = scheduler.next_batch(berth, [berth, *others])
    return list(batch.entries.values()) if batch else []
