"""Which kind of pool the settings ask for."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec

from featsvc.errors import InvalidArgument
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.workers.local import local_pool
from featsvc.pool.workers.pool import WorkerPool
from featsvc.server.config.devices import share_of
from featsvc.settings.tree import GatewaySettings


def chosen_pool(settings: GatewaySettings, of_pool: PoolSettings) -> AbstractAsyncContextManager[WorkerPool]:
    """The pool, to be entered. Raises InvalidArgument where what it needs is not installed."""
    if settings.pool == "local":
        if settings.ray_address:
            raise InvalidArgument("ray_address: is for workers over Ray: add --pool ray")
        return local_pool(of_pool)
    if find_spec("ray") is None:
        raise InvalidArgument("pool: ray is not installed: pip install '.[ray]' at the top of a clone")
    # Where nobody asks for it, what it needs is not imported.
    from featsvc.pool.cluster.pool import ray_pool

    return ray_pool(of_pool, settings.ray_address, share_of(settings))
