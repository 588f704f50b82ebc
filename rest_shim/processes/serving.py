"""Listening: the applications of some families in one process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import grpc
import uvicorn
from starlette.types import ASGIApp

from featsvc.certificates import ServerCertificate, server_certificate
from featsvc.children import at_work
from featsvc.memory import trim_at_rest
from featsvc.processes import connections_within_files, give_large_blocks_back
from featsvc.tracing import Tracer, tracing
from featsvc.wrong_keys import WrongKeys
from rest_shim.app.health import Counter
from rest_shim.app.page import applications, applied
from rest_shim.app.transcoder import Terms
from rest_shim.call.gateway import GatewayClient
from rest_shim.connection import Connection
from rest_shim.crowd import ConnectionLimits, Crowd
from rest_shim.processes.settings import RunnerSettings, gateway_tls
from rest_shim.request.reading import BodyLimits
from rest_shim.secure import Handshake, SecureConnection, SecureListener

BACKLOG = 2048
# Metrics are looked at every few seconds.
TELLING_S = 1.0


class Server(uvicorn.Server):
    """A server that leaves signals to us: several share one loop, and uvicorn raises them again at the end.

    Each second it looks at its connections: a timer for each would cost small calls more.
    """

    def __init__(self, config: uvicorn.Config, crowd: Crowd, certificate: ServerCertificate | None) -> None:
        super().__init__(config)
        self._crowd, self._certificate = crowd, certificate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, with TLS where there is a certificate."""
        if self._certificate is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self.servers += [self._secure(each, self._certificate) for each in sockets or ()]

    def _secure(
        self, listening: socket.socket, certificate: ServerCertificate
    ) -> Any:  # Any: as asyncio's own closes
        def connected(handshake: Handshake) -> SecureConnection:
            return SecureConnection(
                self.config, self.server_state, self.lifespan.state, crowd=self._crowd, handshake=handshake
            )

        return SecureListener(listening, certificate, self._crowd, connected)

    async def on_tick(self, counter: int) -> bool:
        """Is called ten times a second."""
        try:
            if counter % 10 == 0:
                self._crowd.check(asyncio.get_running_loop().time())
            return await super().on_tick(counter)
        except MemoryError:
            # It may pass, and what fails here would end the port.
            return self.should_exit

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError where the address cannot be had."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # localhost may be both: IPv4 is what old clients expect.
    family, _, _, _, address = sorted(found, key=lambda each: each[0] != socket.AF_INET)[0]
    # Named TCP, or asyncio leaves Nagle's algorithm on: each reply would wait 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(BACKLOG)
    return listening


async def serve(
    settings: RunnerSettings, target: str, sockets: Mapping[str, socket.socket], stop: asyncio.Event
) -> None:
    """Serves until `stop` is set, then finishes what runs, within the grace."""
    async with tracing(settings.otlp_endpoint, settings.otlp_sample, "featsvc-rest") as tracer:
        await _serve(settings, target, sockets, stop, tracer)


async def _serve(
    settings: RunnerSettings,
    target: str,
    sockets: Mapping[str, socket.socket],
    stop: asyncio.Event,
    tracer: Tracer | None,
) -> None:
    certificate = server_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    gateway = GatewayClient(target, settings.request_timeout, settings.asking_key, gateway_tls(settings))
    # A body that may be sent must have place when it is alone.
    together = max(settings.max_total_body_bytes, settings.max_request_bytes)
    limits = BodyLimits(settings.max_request_bytes, together, settings.body_timeout)
    terms = Terms(
        gateway=gateway,
        limits=limits,
        max_json_bytes=settings.max_json_bytes,
        wrong_keys=WrongKeys(settings.max_wrong_keys, settings.wrong_key_delay),
        refused_key=settings.refused_key,
        documented_key=settings.documented_key,
        # The gateway would take our own certificate for that of the caller.
        certificates_stand=not settings.grpc_tls_cert,
        tracer=tracer,
        closing=stop,
        grpc_port=settings.grpc_shown_port or _port_of(target),
    )
    counters = {name: Counter() for name in applied(sockets)}
    apps = applications(counters, terms, settings.cors_origins)
    servers = {
        _server(settings, apps[name], certificate, counters[name], len(sockets)): listening
        for name, listening in sockets.items()
    }
    running = [asyncio.create_task(server.serve([listening])) for server, listening in servers.items()]
    stopping = asyncio.create_task(stop.wait())
    try:
        async with at_work(
            _tell_refused(gateway, counters),
            gateway.follow_files(),
            trim_at_rest(
                lambda: limits.count + gateway.answered, settings.give_back_after, give_large_blocks_back
            ),
        ):
            await asyncio.wait((stopping, *running), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
        stopping.cancel()
        await gateway.close()


def _port_of(target: str) -> int | None:
    port = target.rpartition(":")[2]
    return int(port) if port.isdigit() else None


async def _tell_refused(gateway: GatewayClient, counters: Mapping[str, Counter]) -> None:
    """Tells the gateway, which shows metrics, how many requests the ports have refused; often enough for those."""
    while True:
        await asyncio.sleep(TELLING_S)
        refused = {
            (family, status): count
            for family, counter in counters.items()
            for status, count in counter.refused.items()
        }
        if refused:
            with contextlib.suppress(grpc.aio.AioRpcError):  # it is away, or busy: then later
                await gateway.tell_refused(refused)
                for (family, status), count in refused.items():
                    counters[family].refused[status] -= count
                    if not counters[family].refused[status]:
                        del counters[family].refused[status]


def _server(
    settings: RunnerSettings,
    app: ASGIApp,
    certificate: ServerCertificate | None,
    counter: Counter,
    ports: int,
) -> Server:
    """One of so many ports of this process."""
    connections = connections_within_files(settings.rest_connections, ports)
    crowd = Crowd(
        ConnectionLimits(
            header_bytes=settings.max_header_bytes,
            header_timeout=settings.header_timeout,
            keep_alive=settings.keep_alive,
            drained_bytes=settings.max_request_bytes,
            connections=connections,
            connections_per_peer=max(1, connections // 2),
        ),
        counter.refused,
    )
    config = uvicorn.Config(
        app,
        http=partial(Connection, crowd=crowd),  # type: ignore[arg-type]  # called as the class would be
        ws="none",
        log_config=None,
        # It tells of every start and stop; we tell of those ourselves.
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        access_log=False,
        lifespan="off",
        server_header=False,
        # Any caller can write X-Forwarded-For, and any program on this machine be the proxy before us.
        proxy_headers=False,
        root_path=settings.root_path,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )
    return Server(config, crowd, certificate)
