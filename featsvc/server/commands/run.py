"""Runs the gateway, with or without the REST shim, until a signal or until an admin drains it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from featsvc.children import stop_signal
from featsvc.processes import tune
from featsvc.server.commands.own_address import own_address
from featsvc.server.commands.shim import rest_ports
from featsvc.server.commands.welcome import Announcer
from featsvc.server.config.devices import engine_options
from featsvc.server.gateway import Gateway, gateway
from featsvc.server.keys.key_file import new_key
from featsvc.settings.tree import Settings


async def serve(settings: Settings, keys: tuple[str, ...], end_with_stdin: bool = False) -> int:
    """The gateway alone, until SIGTERM or SIGINT, or until standard input ends."""
    stop = stop_signal(end_with_stdin)
    async with gateway(settings, keys) as running:
        tune()
        announcer = Announcer(settings, running.keys, engine_options(settings))
        announcer.listening(running.ports)
        await _until(stop, running, announcer)
        announcer.stopping(running.pool.status())
    return 0


async def up(settings: Settings, keys: tuple[str, ...], end_with_stdin: bool = False) -> int:
    """As `serve`, with the three REST ports. Raises Unavailable where the shim cannot start."""
    stop = stop_signal(end_with_stdin)
    settings = replace(settings, status_key=settings.status_key or new_key())
    with own_address() as address:
        async with (
            gateway(settings, keys, own_address=address) as running,
            rest_ports(settings, running, stop) as ports,
        ):
            tune()
            announcer = Announcer(settings, running.keys, engine_options(settings))
            announcer.listening({**running.ports, **ports})
            await _until(stop, running, announcer)
            announcer.stopping(running.pool.status())
            # What runs may finish, over REST too, before the shim that would carry its reply is ended.
            await running.pool.drain(settings.grace)
    return 0


async def _until(stop: asyncio.Event, running: Gateway, announcer: Announcer) -> None:
    """Announces the first live worker and waits for the signal, or until an admin has had the server drained.

    Raises what keeps every worker from ever starting.
    """
    stopping, drained = asyncio.create_task(stop.wait()), asyncio.create_task(running.drained.wait())
    hopeless = asyncio.create_task(running.pool.cannot_work())
    alive = asyncio.create_task(running.pool.alive_change(0))
    ends: tuple[asyncio.Task[object], ...] = (stopping, drained, hopeless)
    tasks = (*ends, alive)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if alive.done():
            announcer.ready(running.pool.status())
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if hopeless.done():
            raise hopeless.result()
    finally:
        for task in tasks:
            task.cancel()
