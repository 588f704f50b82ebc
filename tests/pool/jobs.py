"""Jobs for the fake engines."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from featsvc.pool.contract.job import Job
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.fakes import FakeItem, FakeParams


def job(value: object = 0, does: str = "", *, item: FakeItem | None = None, **fields: Any) -> Job:
    """A job of service `fake` for model `m`; `fields` are those of Job, and `deadline_s` from now."""
    deadline_s = fields.pop("deadline_s", None)
    given: dict[str, Any] = {
        "service": "fake",
        "operation": "fake.run",
        "model": "m",
        "params": FakeParams(),
        "item": item or FakeItem(value, does),
        "deadline": None if deadline_s is None else time.monotonic() + deadline_s,
        "nbytes": 1,
        "request_id": f"request-{value}" if isinstance(value, (int, str)) else "",
    }
    return Job(**{**given, **fields})


def submit(pool: WorkerPool, *jobs: Job) -> list[asyncio.Task[Any]]:
    """Callers that wait for these jobs, in this order."""
    return [asyncio.create_task(pool.run(each)) for each in jobs]


async def submitted(pool: WorkerPool, *jobs: Job) -> list[asyncio.Task[Any]]:
    """As `submit`, when the pool has taken them all."""
    tasks = submit(pool, *jobs)
    await asyncio.sleep(0)  # each takes its first step, up to its future
    return tasks
