"""GET /health: the state of the gateway in the documented fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from featsvc.v1 import model_pb2
from rest_shim.gateway import Gateway, takes_no_more_calls
from rest_shim.replies import Health

LIVE = frozenset({"ready", "busy"})


@dataclass
class Counter:
    """Requests of one port in this process."""

    requests: int = 0


async def health(family: str, gateway: Gateway, counter: Counter) -> Health:
    """What is known; unhealthy where the gateway cannot be reached or has no live worker."""
    # Busy is not broken: who restarts what is unhealthy would lose all the work in it.
    busy = False
    try:
        status = await gateway.status()
    except grpc.aio.AioRpcError as error:
        status, busy = model_pb2.GetStatusResponse(), takes_no_more_calls(error)
    live = [worker for worker in status.workers if worker.state in LIVE]
    first = live[0] if live else None
    names = [name for worker in live for name in _names(worker, family)]
    return Health(
        status="healthy" if first or busy else "unhealthy",
        device=first.device if first else None,
        worker_id=first.pid if first else None,
        gpu_id=_gpu(first.device) if first else None,
        gpu_count=status.gpu_count,
        models_loaded=sorted(set(names)),
        total_model_instances=len(names),
        request_counter=counter.requests,
    )


def _names(worker: model_pb2.Worker, family: str) -> Iterator[str]:
    for model in worker.models:
        yield from (name for name in model.names if name.startswith(f"{family}_"))


def _gpu(device: str) -> int | None:
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" else None
