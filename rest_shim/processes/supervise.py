"""The processes of a shim: itself or several workers, and the gateway where it starts one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import secrets
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import uvloop

from featsvc.certificates import server_certificate
from featsvc.children import SILENCE_S, Child, at_work, beat, listening, stop_signal
from featsvc.environment import child_environment
from featsvc.errors import Unavailable
from featsvc.logs import setup
from featsvc.output import announce
from featsvc.processes import give_large_blocks_back, raise_limit
from featsvc.settings.access import DEFAULT_KEY, Tls
from featsvc.settings.attributes import attributes, shown
from featsvc.settings.sources import TYPED_KEY, exposure, unknown_variables
from rest_shim.processes.serving import bound, serve
from rest_shim.processes.settings import Runner, RunnerSettings, parsed
from rest_shim.processes.worker import Orders

log = logging.getLogger("rest_shim.processes.supervise")


def main(arguments: Sequence[str] | None, families: Sequence[str]) -> int:
    """Runs the shim of some families until a signal; 0 after that, else 1."""
    runner = parsed(arguments, families)
    setup(runner.settings.log_level, runner.settings.log_format)
    if runner.has_typed_key:
        log.warning(TYPED_KEY)
    # Under `featsvc up`, and where it starts a gateway, that one says so.
    if runner.settings.grpc_target and not runner.beat:
        for warning in unknown_variables(RunnerSettings):
            log.warning(warning)
    raise_limit()
    give_large_blocks_back()
    # Under `featsvc up`, which wants it to beat, the gateway has said so.
    if not runner.beat and (exposed := exposure(runner.settings)):
        log.warning(exposed)
    try:
        return uvloop.run(run(runner))
    except (Unavailable, OSError) as error:
        print(f"rest_shim: {error}", file=sys.stderr)
        return 1


async def run(runner: Runner) -> int:
    """Serves until a signal or the end of standard input."""
    stop, settings = stop_signal(runner.end_with_stdin), runner.settings
    async with AsyncExitStack() as stack:
        sockets = {}
        for family, port in runner.ports.items():
            try:
                sockets[family] = stack.enter_context(bound(settings.host, port))
            except OSError as error:
                flag = "--port" if len(runner.ports) == 1 else f"--{family}-port"
                raise Unavailable(
                    f"the REST port of {family.upper()}, {settings.host}:{port}, cannot be opened "
                    f"({os.strerror(error.errno or 0)}): end the program that has it, or take another port "
                    f"by {flag} (0: a free one)"
                ) from None
        target, metrics = settings.grpc_target, {}
        if not target:
            settings = _with_status_key(settings)
            own = own_gateway(runner.gateway_flags, settings.grace, stop, _keys(settings))
            gateway_ports = await stack.enter_async_context(own)
            # Without a port `stop` came first, and nobody will ask.
            target = f"127.0.0.1:{gateway_ports.get('grpc_port', 0)}"
            metrics = {name: port for name, port in gateway_ports.items() if name == "metrics_port"}
        _announce(sockets, metrics)
        certificate = server_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        # Under `featsvc up` the gateway watches the same one.
        if certificate is not None and not runner.beat:
            await stack.enter_async_context(at_work(certificate.watch()))
        if runner.beat:
            await stack.enter_async_context(at_work(beat()))
        if settings.rest_workers == 1:
            await serve(settings, target, sockets, stop)
        else:
            descriptors = {family: listening.fileno() for family, listening in sockets.items()}
            await supervise(settings.rest_workers, Orders(settings, target, descriptors), stop)
        return 0


@asynccontextmanager
async def own_gateway(
    flags: Sequence[str], grace_s: float, stop: asyncio.Event, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Mapping[str, int]]:
    """The ports on which a gateway of our own listens, until `stop`; raises Unavailable where it does not start."""
    # Only this machine reaches it, so what the shim has from a file or a variable for its own ports is not for it.
    no_tls = (f"{each.flag}=" for each in attributes(Tls))
    words = ("featsvc", "serve", "--host=127.0.0.1", "--grpc-port=0", *no_tls, *flags)
    async with listening("the gateway", words, stop, grace_s, environment=environment) as ports:
        yield ports


def _with_status_key(settings: RunnerSettings) -> RunnerSettings:
    """With a key by which the ports ask their own gateway for its state."""
    if settings.status_key:
        return settings
    # Beside a status key the others say whether the documented one is good.
    keys = settings.api_key or (() if settings.has_own_key else (DEFAULT_KEY,))
    return replace(settings, status_key=secrets.token_urlsafe(32), api_key=keys)


def _keys(settings: RunnerSettings) -> dict[str, str]:
    """The environment of the gateway: a command line is open to every user of the machine."""
    return child_environment(FEATSVC_API_KEY=shown(settings.api_key), FEATSVC_STATUS_KEY=settings.status_key)


async def supervise(count: int, orders: Orders, stop: asyncio.Event) -> None:
    """Several processes on the same sockets; one that dies or gives no sign of life is started again."""
    children = [
        Child("a shim process", partial(_started, orders), orders.settings.grace, SILENCE_S)
        for _ in range(count)
    ]
    async with at_work(*(child.keep(None, stop) for child in children)):
        await stop.wait()


async def _started(orders: Orders) -> Process:
    # A session of its own: Ctrl-C in a terminal is for us, and we tell it in good order.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rest_shim.processes.worker",
        stdin=PIPE, stdout=PIPE, pass_fds=tuple(orders.descriptors.values()), start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None  # it was made with a pipe
    process.stdin.write(pickle.dumps(orders))
    return process


def _announce(sockets: Mapping[str, socket.socket], further: Mapping[str, int]) -> None:
    """One line of JSON on standard output, for people and for programs that started this one."""
    ports = {f"{family}_port": listening.getsockname()[1] for family, listening in sockets.items()}
    announce(json.dumps({"event": "listening", **ports, **further}))
