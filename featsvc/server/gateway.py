"""The gateway process: the gRPC server, its pool and its health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from featsvc.errors import InvalidArgument
from featsvc.pool.local import LocalPool
from featsvc.pool.protocol import Pool
from featsvc.pool.settings import PoolSettings
from featsvc.server.addresses import Allowed
from featsvc.server.call_log import CallLog
from featsvc.server.fetch import FetchLimits, PictureFetcher
from featsvc.server.guard import GuardedMethods
from featsvc.server.intake import Intake
from featsvc.server.keys import Keys, is_loopback
from featsvc.server.places import engine_options, pool_settings
from featsvc.server.services.clip import ClipService
from featsvc.server.services.dino import DinoService
from featsvc.server.services.model import ModelService
from featsvc.server.services.sam2 import Sam2Service
from featsvc.server.settings import Settings
from featsvc.server.store import PictureStore
from featsvc.v1 import (
    clip_pb2,
    clip_pb2_grpc,
    dino_pb2,
    dino_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    sam2_pb2,
    sam2_pb2_grpc,
)

log = logging.getLogger("featsvc.server.gateway")
SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (clip_pb2, "ClipService"),
        (dino_pb2, "DinoService"),
        (sam2_pb2, "Sam2Service"),
        (model_pb2, "ModelService"),
    )
)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    pool: Pool


@asynccontextmanager
async def gateway(
    settings: Settings, keys: tuple[str, ...], engines: str = PoolSettings.engines
) -> AsyncIterator[Gateway]:
    """Runs the gateway; on leaving it stops admitting, finishes within the grace, and ends its workers.

    `engines` is the import path of what builds the engines in a worker. Raises InvalidArgument where the port is taken.
    """
    limits = FetchLimits(
        settings.url, settings.url_timeout, settings.max_image_bytes, settings.url_max_redirects
    )
    options = engine_options(settings)
    async with (
        PictureFetcher(limits, Allowed.of(settings.url_allow)) as fetcher,
        LocalPool(replace(pool_settings(settings, options), engines=engines)) as pool,
    ):
        calls = CallLog()
        methods = GuardedMethods(Keys(keys), calls)
        server = grpc.aio.server(
            handlers=(methods,),
            options=(
                ("grpc.max_receive_message_length", settings.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would share the calls out between them.
                ("grpc.so_reuseport", 0),
            ),
            maximum_concurrent_rpcs=settings.max_calls,
        )
        images = PictureStore(settings.image_cache, settings.image_cache_per_key)
        intake = Intake(pool, fetcher, images, settings, asyncio.Event())
        clip_pb2_grpc.add_ClipServiceServicer_to_server(ClipService(intake), methods)
        dino_pb2_grpc.add_DinoServiceServicer_to_server(DinoService(intake), methods)
        sam2_pb2_grpc.add_Sam2ServiceServicer_to_server(Sam2Service(intake), methods)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(pool, options, images), methods)
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = _bound(server, settings)
        await _publish(checks, False)
        await server.start()
        watcher = asyncio.create_task(_watch(pool, checks), name="health")
        try:
            yield Gateway(port, pool)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            intake.closing.set()
            await _stopped(server, checks, pool, settings.grace)
            calls.write()


def _bound(server: grpc.aio.Server, settings: Settings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        return int(server.add_insecure_port(f"{host}:{settings.grpc_port}"))
    except RuntimeError:
        reachable = "" if is_loopback(settings.host) else ", and the address must be one of this machine's"
        raise InvalidArgument(
            f"grpc_port: {settings.host}:{settings.grpc_port} cannot be opened; another program may have it "
            f"(--grpc-port takes another, 0 a free one){reachable}"
        ) from None


async def _watch(pool: Pool, checks: health.aio.HealthServicer) -> None:
    alive = -1
    while True:
        alive = await pool.alive_change(alive)
        log.info("workers", extra={"alive": alive})
        await _publish(checks, alive > 0)


async def _publish(checks: health.aio.HealthServicer, alive: bool) -> None:
    """The engines' services need a live worker; the model service answers without one."""
    state = SERVING if alive else NOT_SERVING
    for name in ("", *SERVICES):
        await checks.set(name, SERVING if name == SERVICES[-1] else state)


async def _stopped(
    server: grpc.aio.Server, checks: health.aio.HealthServicer, pool: Pool, grace_s: float
) -> None:
    """Stops admitting, lets running calls finish within the grace, then cancels what is left."""
    began = time.monotonic()
    await checks.enter_graceful_shutdown()
    stopping = asyncio.create_task(server.stop(grace_s))
    await pool.drain(grace_s)
    await stopping
    log.info("stopped", extra={"after_s": round(time.monotonic() - began, 2)})
