"""Runs the gateway, with or without the REST shim, until a signal."""

from __future__ import annotations

import asyncio
import json
import signal

from featsvc.server.gateway import Gateway, gateway
from featsvc.server.settings import Settings
from featsvc.server.shim import Shim


async def serve(settings: Settings, keys: tuple[str, ...]) -> int:
    """The gateway alone, until SIGTERM or SIGINT."""
    stop = _stop_signal()
    async with gateway(settings, keys) as running:
        _announce("listening", grpc_port=running.port)
        await _until_ready_or(stop, running)
        await stop.wait()
    return 0


async def up(settings: Settings, keys: tuple[str, ...]) -> int:
    """The gateway and the three REST ports, until SIGTERM or SIGINT. Raises Unavailable where the shim cannot start."""
    stop = _stop_signal()
    async with gateway(settings, keys) as running, Shim(settings, running.port, keys) as shim:
        _announce("listening", grpc_port=running.port, **shim.ports)
        await _until_ready_or(stop, running)
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(shim.failed())
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failing.done():
            failing.result()
        failing.cancel()
    return 0


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until_ready_or(stop: asyncio.Event, running: Gateway) -> None:
    """Announces the first live worker, unless a signal comes first."""
    stopping = asyncio.create_task(stop.wait())
    alive = asyncio.create_task(running.pool.alive_change(0))
    await asyncio.wait((stopping, alive), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if alive.done():
        _announce("ready", workers=alive.result())
    alive.cancel()


def _announce(event: str, **values: object) -> None:
    """One line of JSON on standard output, for people and for programs that started this one."""
    print(json.dumps({"event": event, **values}), flush=True)
