"""Runs the gateway, with or without the REST shim, until a signal."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from featsvc.errors import Unavailable
from featsvc.server.gateway import Gateway, gateway
from featsvc.server.settings import Settings
from featsvc.server.sources import shown

log = logging.getLogger("featsvc.server.run")
# A shim that ends sooner than this after its start has a reason that another start will not mend.
YOUNG_S = 5.0


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
    async with gateway(settings, keys) as running, _shim(settings, running.port) as (ports, ended):
        _announce("listening", grpc_port=running.port, **ports)
        await _until_ready_or(stop, running)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if ended.done():
            raise Unavailable(f"the REST shim ended: {ended.exception()}")
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


@asynccontextmanager
async def _shim(
    settings: Settings, grpc_port: int
) -> AsyncIterator[tuple[dict[str, int], asyncio.Task[None]]]:
    """The REST shim in a process of its own, started again when it dies; its ports, and a task that fails with it."""
    first = await _started(settings, grpc_port)
    ports = await _listening(first)
    # A later process takes the ports that the first one got, also where those were free ones.
    keeper = asyncio.create_task(_kept(first, settings, grpc_port, ports), name="shim")
    try:
        yield ports, keeper
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _started(
    settings: Settings, grpc_port: int, ports: dict[str, int] | None = None
) -> asyncio.subprocess.Process:
    chosen = ports or {name: getattr(settings, name) for name in ("clip_port", "dino_port", "sam2_port")}
    host = settings.host.strip("[]")
    target = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    flags = {
        "host": settings.host,
        "grpc_target": f"{target}:{grpc_port}",
        "timeout": settings.request_timeout,
        "workers": settings.rest_workers,
        "cors_origins": shown(settings.cors_origins),
        "max_body_bytes": settings.max_request_bytes,
        "log_level": settings.log_level,
        **chosen,
    }
    words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rest_shim.serve", *words, stdout=asyncio.subprocess.PIPE
    )


async def _listening(process: asyncio.subprocess.Process) -> dict[str, int]:
    """The ports from the shim's first line. Raises Unavailable where it ends before."""
    assert process.stdout is not None  # it was made with a pipe
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise Unavailable(f"the REST shim ended with {code} before it listened; its log says why")
    return {name: port for name, port in json.loads(line).items() if name.endswith("_port")}


async def _kept(
    process: asyncio.subprocess.Process, settings: Settings, grpc_port: int, ports: dict[str, int]
) -> None:
    began = time.monotonic()
    try:
        while True:
            code = await process.wait()
            log.error("the REST shim died", extra={"code": code})
            if time.monotonic() - began < YOUNG_S:
                raise Unavailable(f"it died with {code} right after its start")
            process, began = await _started(settings, grpc_port, ports), time.monotonic()
            await _listening(process)
    finally:
        await _ended(process, settings.grace)


async def _ended(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        process.kill()
        await process.wait()
