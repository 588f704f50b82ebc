"""The gateway process: the gRPC server, its pool and its health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from featsvc.catalog import entry_of
from featsvc.certificates import ServerCertificate, server_certificate
from featsvc.children import at_work
from featsvc.errors import InvalidArgument
from featsvc.memory import trim_at_rest
from featsvc.pool.contract.job import JobObserver
from featsvc.pool.contract.protocol import Pool
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerStatus
from featsvc.processes import keep_large_blocks
from featsvc.server.calls.admission import COPIES, Admission, AdmissionLimits
from featsvc.server.calls.audit import Audit
from featsvc.server.calls.call import CallObserver
from featsvc.server.calls.call_log import CallLog
from featsvc.server.calls.connections import Connections
from featsvc.server.calls.deadlines import Deadlines
from featsvc.server.calls.guard import GuardedMethods
from featsvc.server.calls.memory import CountedWork
from featsvc.server.calls.read_ahead import ReadAhead
from featsvc.server.calls.refusals import Refusals
from featsvc.server.calls.traces import CallTraces, JobTraces
from featsvc.server.config.credentials import server_credentials
from featsvc.server.config.devices import engine_options, pool_settings
from featsvc.server.config.grpc_options import grpc_options, most_connections
from featsvc.server.config.pools import chosen_pool
from featsvc.server.keys.api_keys import ApiKeys, keys_in_force
from featsvc.server.keys.permissions import WeightsHere
from featsvc.server.pictures.addresses import Allowed
from featsvc.server.pictures.fetch import FetchLimits, PictureFetcher
from featsvc.server.pictures.store import PictureStore
from featsvc.server.services.drain import Drain
from featsvc.server.services.estimate import ESTIMATES, EstimateService
from featsvc.server.services.image import IMAGES, ImageService
from featsvc.server.services.intake import Intake
from featsvc.server.services.model import ModelService
from featsvc.server.services.open_services import (
    HEALTH,
    NOT_SERVING,
    REFLECTION,
    SERVING,
    HealthService,
    Reflection,
    State,
)
from featsvc.server.services.rpcs import OperationMethods
from featsvc.settings.tree import GatewaySettings
from featsvc.tracing import tracing
from featsvc.v1 import estimate_pb2_grpc, image_pb2_grpc, model_pb2, model_pb2_grpc
from featsvc.work.operations import OPERATIONS, AnyOperation
from featsvc.wrong_keys import WrongKeys

if TYPE_CHECKING:
    from featsvc.server.metrics.exporter import Exporter

log = logging.getLogger("featsvc.server.gateway")
MODELS = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    own_target: str
    """Where the REST shim reaches it."""
    pool: Pool
    keys: ApiKeys
    drained: asyncio.Event
    """Set when an admin has had it finish all that it had."""
    metrics_port: int | None = None

    @property
    def ports(self) -> dict[str, int]:
        """All of them, by their settings."""
        return {
            "grpc_port": self.port,
            **({} if self.metrics_port is None else {"metrics_port": self.metrics_port}),
        }


@asynccontextmanager
async def gateway(
    settings: GatewaySettings,
    keys: tuple[str, ...],
    engines: str = PoolSettings.engines,
    observers: Sequence[CallObserver] = (),
    operations: Sequence[AnyOperation] = OPERATIONS,
    own_address: str = "",
) -> AsyncIterator[Gateway]:
    """Runs the gateway; on leaving it stops admitting, finishes within the grace, and ends its workers.

    `engines` is the import path of what builds the engines in a worker, which compute `operations`. `observers` hear of
    every call, after the log. `own_address` is one that only the REST shim reaches, where it needs no TLS. `keys` are
    those of whoever runs it; the settings may name a file of further ones.
    Raises InvalidArgument where the port is taken, the certificate is none, or the file of keys is wrong.
    """
    certificate = server_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    api_keys = keys_in_force(settings, keys)
    limits = _fetch_limits(settings)
    options = engine_options(settings)
    of_pool = replace(pool_settings(settings, options), engines=engines)
    metrics = _metrics(settings, of_pool)
    async with (
        PictureFetcher(limits, Allowed.of(settings.url_allow)) as fetcher,
        chosen_pool(settings, of_pool) as pool,
        tracing(settings.otlp_endpoint, settings.otlp_sample, "featsvc-gateway") as tracer,
    ):
        calls, audit, work = CallLog(), Audit(), CountedWork()
        job_observers: tuple[JobObserver, ...] = (work,)
        if tracer is not None:
            observers, job_observers = (*observers, CallTraces(tracer)), (*job_observers, JobTraces())
        if metrics is not None:
            observers, job_observers = (*observers, metrics.calls), (*job_observers, metrics.jobs)
        images = PictureStore(settings.image_cache)
        deadlines = Deadlines(settings.request_timeout, settings.max_request_timeout)
        admission = Admission(
            _admission_limits(settings),
            lambda: images.nbytes + COPIES * fetcher.nbytes,
            ReadAhead(pool.check_room, pool.batch_bytes, deadlines),
        )
        wrong_keys = WrongKeys(settings.max_wrong_keys, settings.wrong_key_delay)
        refusals = Refusals(settings.max_refusals, settings.max_calls)
        methods = GuardedMethods(api_keys, (calls, audit, work, *observers), admission, wrong_keys, refusals)
        server = grpc.aio.server(handlers=(methods,), options=grpc_options(settings))
        closing, drain = asyncio.Event(), Drain(settings.grace)
        intake = Intake(
            pool,
            fetcher,
            images,
            settings,
            WeightsHere(settings),
            closing,
            refusals,
            deadlines,
            job_observers,
        )
        for operation in operations:
            handlers = OperationMethods(operation, intake).handlers()
            methods.add_registered_method_handlers(operation.service, handlers)
        model_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(pool, options, images, drain, settings.profile, certificate), methods
        )
        estimate_pb2_grpc.add_EstimateServiceServicer_to_server(EstimateService(intake, operations), methods)
        image_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(intake), methods)
        checks = HealthService(_states(operations, (), ()))
        health_pb2_grpc.add_HealthServicer_to_server(checks, methods)
        _add_reflection(methods, operations)
        port = _bound(server, settings, certificate)
        connections = Connections(port, most_connections(settings), is_encrypted=certificate is not None)
        own_target = _opened_for_shim(server, own_address)
        await server.start()
        shown = (
            nullcontext()
            if metrics is None
            else metrics.listening(pool, images, admission, checks.serving, certificate)
        )
        try:
            async with (
                at_work(
                    _watch(pool, checks, operations, settings.preload),
                    admission.watch(),
                    connections.watch(),
                    trim_at_rest(lambda: work.count, settings.give_back_after, keep_large_blocks),
                    drain.watch(checks, closing, pool),
                    api_keys.watch(partial(_keys_changed, api_keys, methods, intake, metrics)),
                    *([] if certificate is None else [certificate.watch()]),
                ),
                shown as metrics_port,
            ):
                yield Gateway(port, own_target, pool, api_keys, drain.done, metrics_port)
        finally:
            intake.closing.set()
            admission.close()
            refusals.close()
            await _stopped(server, checks, pool, drain.left_s(settings.grace))
            calls.write()
            audit.close()


def _keys_changed(
    keys: ApiKeys, methods: GuardedMethods, intake: Intake, metrics: Exporter | None, gone: frozenset[str]
) -> None:
    """Ends the calls of keys that were taken out, and forgets what was kept for their callers."""
    methods.judge_again()
    for name in gone:
        intake.images.forget(name)
        intake.answered.forget(name)
    if metrics is not None:
        metrics.keys_changed(keys.names)


def _metrics(settings: GatewaySettings, of_pool: PoolSettings) -> Exporter | None:
    """What counts calls and questions, and shows them at a port of its own, where one is wanted."""
    if settings.metrics_port is None:
        return None
    # What it needs is not imported where nobody looks.
    from featsvc.server.metrics.exporter import Exporter

    return Exporter(settings, of_pool.most_items)


def _bound(server: grpc.aio.Server, settings: GatewaySettings, certificate: ServerCertificate | None) -> int:
    address = f"{settings.host_in_url}:{settings.grpc_port}"
    try:
        if certificate is not None:
            return int(server.add_secure_port(address, server_credentials(certificate)))
        return int(server.add_insecure_port(address))
    except RuntimeError:
        reachable = "" if settings.is_loopback else ", and the address must be one of this machine's"
        raise InvalidArgument(
            f"grpc_port: {address} cannot be opened; another program may have it "
            f"(--grpc-port takes another, 0 a free one){reachable}"
        ) from None


def _opened_for_shim(server: grpc.aio.Server, address: str) -> str:
    """The address as the shim names it: a port that was free is known only now."""
    if not address:
        return ""
    port = int(server.add_insecure_port(address))
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _admission_limits(settings: GatewaySettings) -> AdmissionLimits:
    return AdmissionLimits(
        settings.max_calls,
        settings.max_keyless_calls,
        settings.message_timeout,
        # A message that may be sent must have place when it is alone.
        max(settings.max_receiving_bytes, settings.max_request_bytes),
        settings.max_request_bytes,
    )


def _fetch_limits(settings: GatewaySettings) -> FetchLimits:
    return FetchLimits(
        enabled=settings.url,
        timeout_s=settings.url_timeout,
        max_bytes=settings.max_image_bytes,
        max_redirects=settings.url_max_redirects,
        max_fetches=settings.url_max_fetches,
        max_total_bytes=settings.url_max_bytes,
    )


def _add_reflection(methods: GuardedMethods, operations: Sequence[AnyOperation]) -> None:
    """In both versions, of which generated code knows one; their messages are the same."""
    reflection = Reflection((*_services(operations), HEALTH, *REFLECTION))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, methods)
    methods.repeat(*REFLECTION)


async def _watch(
    pool: Pool, checks: HealthService, operations: Sequence[AnyOperation], preload: tuple[str, ...]
) -> None:
    known = -1
    while True:
        known = await pool.news(known)
        workers = [worker for worker in pool.status().workers if worker.is_alive]
        failed = {model.name for worker in workers for model in worker.failed_models}
        log.info("workers", extra={"alive": len(workers), "failed_models": sorted(failed)})
        checks.set(_states(operations, workers, preload))


def _services(operations: Sequence[AnyOperation]) -> tuple[str, ...]:
    """Each once, in the order of the table."""
    return tuple(dict.fromkeys((*(each.service for each in operations), ESTIMATES, IMAGES, MODELS)))


def _states(
    operations: Sequence[AnyOperation], workers: Sequence[WorkerStatus], preload: tuple[str, ...]
) -> dict[str, State]:
    """The engines' services need a live worker with what was to be preloaded; the others answer without one."""
    states = dict.fromkeys(("", *_services(operations)), SERVING if workers else NOT_SERVING)
    for key in preload:
        if all(key in {model.name for model in worker.failed_models} for worker in workers):
            family = entry_of(key).family
            states |= {each.service: NOT_SERVING for each in operations if each.family == family}
    states[MODELS] = states[ESTIMATES] = states[IMAGES] = SERVING
    return states


async def _stopped(server: grpc.aio.Server, checks: HealthService, pool: Pool, grace_s: float) -> None:
    """Stops admitting, lets running calls finish within the grace, then cancels what is left."""
    began = time.monotonic()
    checks.close()
    stopping = asyncio.create_task(server.stop(grace_s))
    await pool.drain(grace_s)
    await stopping
    log.info("stopped", extra={"after_s": round(time.monotonic() - began, 2)})
