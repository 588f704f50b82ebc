"""Jobs for the fake engines."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

from featsvc.fields.base import Parameters
from featsvc.pool.contract.job import AnyJob, Job
from featsvc.pool.workers.pool import WorkerPool
from featsvc.work.item import Item
from featsvc.work.operations import AnyOperation, Operation
from tests.pool.fakes import FakeItem, FakeParams


@functools.cache
def fake_operation(rpc: str, family: Any = "clip", per_picture: int = 1) -> AnyOperation:
    """An operation of no contract: the pool looks at these three."""
    return Operation(rpc, family, Parameters, Item, object, per_picture)


def job(value: object = 0, does: str = "", *, item: FakeItem | None = None, **fields: Any) -> AnyJob:
    """A job of family `clip` for model `m`; `fields` are those of Job, and `deadline_s` from now."""
    deadline_s = fields.pop("deadline_s", None)
    given: dict[str, Any] = {
        "operation": fake_operation("fake.run"),
        "model": "m",
        "params": FakeParams(),
        "item": item or FakeItem(value, does),
        "deadline": None if deadline_s is None else time.monotonic() + deadline_s,
        "nbytes": 1,
        "request_id": f"request-{value}" if isinstance(value, (int, str)) else "",
    }
    return Job(**{**given, **fields})


def submit(pool: WorkerPool, *jobs: AnyJob) -> list[asyncio.Task[Any]]:
    """Callers that wait for these jobs, in this order."""
    return [asyncio.create_task(pool.run(each)) for each in jobs]


async def submitted(pool: WorkerPool, *jobs: AnyJob) -> list[asyncio.Task[Any]]:
    """As `submit`, when the pool has taken them all."""
    tasks = submit(pool, *jobs)
    await asyncio.sleep(0)  # each takes its first step, up to its future
    return tasks
