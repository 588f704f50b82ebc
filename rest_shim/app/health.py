"""GET /health: the state of the gateway in the documented fields."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from featsvc.twin.messages import words
from featsvc.v1 import model_pb2
from rest_shim.app.endpoints import RestPort
from rest_shim.call.gateway import GatewayClient, takes_no_more_calls
from rest_shim.reply.port_replies import Health, HealthGpu

FAMILIES = words(model_pb2.Family.DESCRIPTOR)
LIVE = frozenset({"ready", "busy"})


@dataclass
class Counter:
    """Requests of one port in this process."""

    requests: int = 0
    refused: collections.Counter[int] = field(default_factory=collections.Counter)
    """Those that were refused before any question to a model, by status, since the gateway was last told."""


async def health(family: str, gateway: GatewayClient, counter: Counter) -> Health:
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
        worker_id=first.id if first else None,
        gpu_id=_gpu(first.device) if first else None,
        gpu_count=status.gpu_count,
        models_loaded=sorted(set(names)),
        total_model_instances=len(names),
        request_counter=counter.requests,
        problems=_problems(status, family),
        gpus=list({_identity(worker): _gpu_of(worker) for worker in live if worker.HasField("gpu")}.values()),
    )


async def why_not_ready(port: RestPort, gateway: GatewayClient) -> str:
    """Why this port should get no requests at the moment; empty where it should."""
    try:
        serving = await asyncio.gather(*map(gateway.is_serving, port.services))
        if all(serving):
            return ""
        status = await gateway.status()
    except grpc.aio.AioRpcError as error:
        if takes_no_more_calls(error):
            return "the gateway takes no more calls at the moment"
        return "the gateway cannot be reached at the moment: it starts, or is being started again"
    problems = _problems(status, port.name)
    return "; ".join(problems) or "no worker is up at the moment: they start, or are being started again"


def _problems(status: model_pb2.GetStatusResponse, family: str) -> list[str]:
    """What is wrong with models of this family, each told once."""
    told = (
        f"{model.key} cannot be loaded: {model.reason}"
        for worker in status.workers
        for model in worker.failed_models
        if FAMILIES.get(model.family) == family
    )
    return list(dict.fromkeys(told))


def _names(worker: model_pb2.Worker, family: str) -> Iterator[str]:
    for model in worker.models:
        if FAMILIES.get(model.family) == family:
            yield from model.names


def _identity(worker: model_pb2.Worker) -> str:
    """Which GPU it is: on each machine of a cluster there is a cuda:0."""
    return worker.gpu.uuid or f"{worker.machine} {worker.device}"


def _gpu_of(worker: model_pb2.Worker) -> HealthGpu:
    gpu = worker.gpu
    return HealthGpu(
        device=worker.device,
        name=gpu.name,
        uuid=gpu.uuid,
        memory_bytes=gpu.size_bytes,
        free_bytes=gpu.free_bytes,
        utilization_percent=gpu.utilization_percent if gpu.HasField("utilization_percent") else None,
    )


def _gpu(device: str) -> int | None:
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" else None
