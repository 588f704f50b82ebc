"""The processes of a shim: itself or several workers, and the gateway where it starts one."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop

from rest_shim.logs import setup
from rest_shim.serving import bound, serve, stop_at_end_of_stdin, stop_signal
from rest_shim.settings import Settings, parsed
from rest_shim.worker import Orders

log = logging.getLogger("rest_shim.processes")
# What ending takes beside the grace of what still runs.
ENDING_S = 20.0
RESTART_PAUSE_S = 1.0


class CannotStart(Exception):
    """Something that is needed does not start; the message says what."""


def main(arguments: Sequence[str] | None, families: Sequence[str]) -> int:
    """Runs the shim of some families until a signal; 0 after that, else 1."""
    settings = parsed(arguments, families)
    setup(settings.log_level)
    try:
        return uvloop.run(run(settings))
    except (CannotStart, OSError) as error:
        print(f"rest_shim: {error}", file=sys.stderr)
        return 1


async def run(settings: Settings) -> int:
    """Serves until a signal, the end of standard input, or that of the gateway that was started."""
    stop = stop_signal()
    if settings.end_with_stdin:
        stop_at_end_of_stdin(stop)
    async with AsyncExitStack() as stack:
        sockets = {}
        for family, port in settings.ports.items():
            sockets[family] = stack.enter_context(bound(settings.host, port))
        ended: asyncio.Task[None] | None = None
        if settings.grpc_target:
            target = settings.grpc_target
        else:
            gateway, target = await stack.enter_async_context(
                own_gateway(settings.gateway_flags, settings.grace)
            )
            ended = asyncio.create_task(_stop_after(gateway, stop))
            stack.push_async_callback(_cancelled, ended)
        _announce(sockets)
        if settings.workers == 1:
            await serve(settings, target, sockets, stop)
        else:
            descriptors = {family: listening.fileno() for family, listening in sockets.items()}
            await supervise(settings.workers, Orders(settings, target, descriptors), stop)
        return 1 if ended is not None and ended.done() else 0


@asynccontextmanager
async def own_gateway(flags: Sequence[str], grace_s: float) -> AsyncIterator[tuple[Process, str]]:
    """A gateway of this machine's own, and where it listens; it ends with this context."""
    command = (
        sys.executable,
        "-m",
        "featsvc",
        "serve",
        "--host=127.0.0.1",
        "--grpc-port=0",
        "--end-with-stdin",
    )
    # Its models must not outlive this process, however that ends: the pipe closes with it.
    process = await asyncio.create_subprocess_exec(
        *command, *flags, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None  # it was made with a pipe
        line = await process.stdout.readline()
        if not line:
            raise CannotStart(
                f"the gateway ended with {await process.wait()} before it listened; see its message above"
            )
        draining = asyncio.create_task(_drain(process.stdout))
        try:
            yield process, f"127.0.0.1:{json.loads(line)['grpc_port']}"
        finally:
            await _ended(process, grace_s)
            await draining
    finally:
        await _ended(process, grace_s)


async def supervise(count: int, orders: Orders, stop: asyncio.Event) -> None:
    """Several processes on the same sockets; one that dies is started again."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_keep(orders, stop))


async def _keep(orders: Orders, stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        process = await _started(orders)
        ending = asyncio.create_task(process.wait())
        await asyncio.wait((stopping, ending), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.error("a shim process died and is started again", extra={"code": process.returncode})
            await asyncio.wait((stopping,), timeout=RESTART_PAUSE_S)
        await _ended(process, orders.settings.grace)
        await ending


async def _started(orders: Orders) -> Process:
    # A session of its own: Ctrl-C in a terminal is for us, and we tell it in good order.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rest_shim.worker",
        stdin=PIPE, pass_fds=tuple(orders.descriptors.values()), start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None  # it was made with a pipe
    process.stdin.write(pickle.dumps(orders))
    return process


async def _stop_after(process: Process, stop: asyncio.Event) -> None:
    code = await process.wait()
    if not stop.is_set():
        log.error("the gateway ended", extra={"code": code})
    stop.set()


async def _drain(stream: asyncio.StreamReader) -> None:
    """Reads what nobody needs, so that the writer never waits."""
    while await stream.read(4096):
        pass


async def _ended(process: Process, grace_s: float) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_s + ENDING_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _announce(sockets: Mapping[str, socket.socket]) -> None:
    """One line of JSON on standard output, for people and for programs that started this one."""
    ports = {f"{family}_port": listening.getsockname()[1] for family, listening in sockets.items()}
    print(json.dumps({"event": "listening", **ports}), flush=True)
