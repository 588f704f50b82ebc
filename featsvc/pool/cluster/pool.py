"""The pool of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from featsvc.pool.cluster.connection import connected
from featsvc.pool.cluster.parcels import StoredPictures
from featsvc.pool.contract.settings import PoolSettings, Share
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.pool import WorkerPool


@asynccontextmanager
async def ray_pool(settings: PoolSettings, address: str, share: Share) -> AsyncIterator[WorkerPool]:
    """A pool of actors of the Ray cluster at an address; without one of a Ray that is started here.

    Raises InvalidArgument where there is no cluster.
    """
    reserve = Reserve(settings.reserved_descriptors)
    try:
        async with connected(address):
            # Not before: when Ray is imported it reads what `connected` has put into the environment.
            import ray

            from featsvc.pool.cluster.worker import RayWorker

            spawn = partial(RayWorker, share=share, pictures=StoredPictures(ray.put), reserve=reserve)
            async with WorkerPool(replace(settings, may_move=True), spawn) as pool:
                yield pool
    finally:
        reserve.close()
