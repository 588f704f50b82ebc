"""Runs the gateway, with or without the REST shim, until a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import suppress

from featsvc.server.gateway import Gateway, gateway
from featsvc.server.process import tune
from featsvc.server.settings import Settings
from featsvc.server.shim import Shim


async def serve(settings: Settings, keys: tuple[str, ...], end_with_stdin: bool = False) -> int:
    """The gateway alone, until SIGTERM or SIGINT, or until standard input ends."""
    stop = _stop_signal(end_with_stdin)
    async with gateway(settings, keys) as running:
        tune()
        _announce("listening", grpc_port=running.port)
        await _until_ready_or(stop, running)
        await stop.wait()
    return 0


async def up(settings: Settings, keys: tuple[str, ...], end_with_stdin: bool = False) -> int:
    """As `serve`, with the three REST ports. Raises Unavailable where the shim cannot start."""
    stop = _stop_signal(end_with_stdin)
    async with gateway(settings, keys) as running, Shim(settings, running.port, keys) as shim:
        tune()
        _announce("listening", grpc_port=running.port, **shim.ports)
        await _until_ready_or(stop, running)
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(shim.failed())
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failing.done():
            failing.result()
        failing.cancel()
        # What runs may finish, over REST too, before the shim that would carry its reply is ended.
        await running.pool.drain(settings.grace)
    return 0


def _stop_signal(end_with_stdin: bool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if end_with_stdin:

        def wait_for_end() -> None:
            # Not sys.stdin.read: its lock would still be held by this thread when the interpreter ends.
            while os.read(sys.stdin.fileno(), 4096):
                pass
            with suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_end, name="stdin", daemon=True).start()
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
