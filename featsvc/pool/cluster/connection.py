"""The connection of the gateway to a Ray cluster, or to a Ray of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from featsvc.errors import InvalidArgument
from featsvc.pool.cluster.environment import prepare, without_own_variables

log = logging.getLogger("featsvc.pool.cluster.connection")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[None]:
    """Connected to the cluster at an address, `auto` or HOST:PORT; without one to a Ray that is started here.

    Raises InvalidArgument where there is no cluster, or none that takes this process.
    """
    if "://" in address:
        raise InvalidArgument(
            f"ray_address: {address} is no address of a cluster: start the gateway on a machine of the cluster, with "
            "`auto` or HOST:PORT"
        )
    prepare(address)
    # In a thread, for Ray waits for its processes.
    await asyncio.to_thread(_connect, address)
    # Ray would print the stack of this process when a signal comes, before it goes on to our handlers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.getsignal(number))
    try:
        yield
    finally:
        await asyncio.to_thread(_disconnect)


def _connect(address: str) -> None:
    import ray
    from ray._private import worker as driver

    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray prints what it has to tell on standard output, which is for our events; its own logs have it too.
    driver._worker_logs_enabled = False
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        with without_own_variables():
            ray.init(**options, configure_logging=False, log_to_driver=False, namespace="featsvc")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        told = str(error).strip().partition("\n")[0]
        raise InvalidArgument(
            f"ray_address: {address or 'a Ray of our own'} cannot be used: {told}"
        ) from None
    log.info("connected to Ray", extra={"resources": ray.cluster_resources()})


def _disconnect() -> None:
    import ray

    ray.shutdown()
