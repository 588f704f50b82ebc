"""Listening: the applications of some families in one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping

import uvicorn

from rest_shim.app import application
from rest_shim.endpoints import FAMILIES
from rest_shim.gateway import Gateway
from rest_shim.reading import BodyLimits
from rest_shim.settings import Settings
from rest_shim.transcoder import Terms

BACKLOG = 2048


class Server(uvicorn.Server):
    """A server that leaves signals to us: several share one loop, and uvicorn raises them again at the end."""

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
    settings: Settings, target: str, sockets: Mapping[str, socket.socket], stop: asyncio.Event
) -> None:
    """Serves until `stop` is set, then finishes what runs, within the grace."""
    gateway = Gateway(target, settings.timeout)
    limits = BodyLimits(settings.max_body_bytes, settings.max_total_body_bytes)
    terms = Terms(gateway, limits, settings.max_reply_bytes, settings.refused_key)
    servers = {
        Server(
            uvicorn.Config(
                application(FAMILIES[family], terms, settings.cors_origins),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.grace)),
            )
        ): listening
        for family, listening in sockets.items()
    }
    running = [asyncio.create_task(server.serve([listening])) for server, listening in servers.items()]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((stopping, *running), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
        stopping.cancel()
        await gateway.close()


def stop_signal() -> asyncio.Event:
    """Set from now on by what asks a program to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


def stop_at_end_of_stdin(stop: asyncio.Event) -> None:
    """Sets the event when the other end of standard input is closed, be it because its process was killed."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            stop.set()

    try:
        loop.add_reader(stdin, read)
    except PermissionError:
        # A file, or nothing at all: nobody holds its other end.
        stop.set()
