"""The pool of this machine."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.pool import WorkerPool
from featsvc.pool.workers.process import WorkerProcess
from featsvc.pool.workers.templates import Templates, obstacle

log = logging.getLogger("featsvc.pool.workers.local")


@asynccontextmanager
async def local_pool(settings: PoolSettings) -> AsyncIterator[WorkerPool]:
    """A pool of processes of this machine."""
    reserve = Reserve(settings.reserved_descriptors)
    templates = None
    if settings.worker_template:
        if why := obstacle():
            log.warning("workers cannot be forked, and each imports for itself: %s", why)
        else:
            templates = Templates(reserve)
    try:
        async with WorkerPool(settings, partial(WorkerProcess, reserve=reserve, templates=templates)) as pool:
            yield pool
    finally:
        if templates:
            await templates.close()
        reserve.close()
