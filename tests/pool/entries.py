"""A scheduler with waiting entries, and what a worker takes of them, without any process."""

from __future__ import annotations

from dataclasses import dataclass, replace

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.scheduling.scheduler import Scheduler

SETTINGS = PoolSettings(max_batch_items=3, affinity_s=1.0)


@dataclass(frozen=True)
class Worker:
    """A live worker with these models."""

    id: int
    models: frozenset[str] = frozenset()


def scheduler_with(*entries: QueueEntry, **changes: object) -> Scheduler:
    """A scheduler for batches of three, where these wait."""
    scheduler = Scheduler(replace(SETTINGS, **changes))  # type: ignore[arg-type]
    for entry in entries:
        scheduler.admit(entry, workers=1)
    return scheduler


def dispatched(scheduler: Scheduler, worker: Worker, *others: Worker) -> Batch | None:
    """The next batch of a worker, of which the scheduler learns here if it does not know it yet."""
    alive = {each.id: each for each in (worker, *others)}
    for each in alive.values():
        if each.id not in scheduler._workers:
            scheduler.add_worker(each.id)
            scheduler.set_models(each.id, each.models)
    return scheduler.next_batch(worker.id, alive)


def taken(scheduler: Scheduler, worker: Worker, *others: Worker) -> list[QueueEntry]:
    """The entries of the next batch of a worker."""
    batch = dispatched(scheduler, worker, *others)
    return list(batch.entries.values()) if batch else []


def completed(scheduler: Scheduler, batch: Batch) -> None:
    """A worker has answered all of a batch."""
    for entry in tuple(batch.entries.values()):
        scheduler.completed(entry)
