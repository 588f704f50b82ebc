"""The pool of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.pool import WorkerPool
from featsvc.pool.workers.process import WorkerProcess
from featsvc.pool.workers.templates import Templates, can_fork


@asynccontextmanager
async def local_pool(settings: PoolSettings) -> AsyncIterator[WorkerPool]:
    """A pool of processes of this machine."""
    reserve = Reserve(settings.reserved_descriptors)
    templates = Templates(reserve) if settings.worker_template and can_fork() else None
    try:
        async with WorkerPool(settings, partial(WorkerProcess, reserve=reserve, templates=templates)) as pool:
            yield pool
    finally:
        if templates:
            templates.close()
        reserve.close()
