"""Runners as processes of their own, as a user starts them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

ROOT = Path(__file__).parents[2]
# The machine may be busy with other things.
LONG_S = 90


@dataclass(frozen=True)
class Runner:
    """A running runner."""

    process: Process
    ports: dict[str, int]

    def url(self, family: str, path: str = "/health") -> str:
        return f"http://127.0.0.1:{self.ports[f'{family}_port']}{path}"

    @property
    def children(self) -> list[psutil.Process]:
        """All processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that it made to serve."""
        return [child for child in self.children if "rest_shim.processes.worker" in " ".join(child.cmdline())]

    async def ended_by(self, number: signal.Signals) -> int:
        """Its exit status after a signal; SIGINT goes to the whole group, as a terminal sends it."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), LONG_S)


async def started(log: IO[str], module: str, *flags: str, **variables: str) -> Process:
    """`python -m rest_shim.MODULE`, without the caller's own settings in the environment; its stdin is held open."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"rest_shim.{module}", *flags,
        cwd=ROOT, env=environment | variables, stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Log:
    """What a runner wrote to standard error."""

    path: Path

    @property
    def content(self) -> str:
        return self.path.read_text()

    def opened(self) -> IO[str]:
        return self.path.open("w")


@asynccontextmanager
async def runner(log: Log, module: str, *flags: str, **variables: str) -> AsyncIterator[Runner]:
    """A runner that listens, until the block ends; what it writes goes to the log."""
    with log.opened() as errors:
        process = await started(errors, module, *flags, **variables)
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), LONG_S)
        assert line, log.content
        yield Runner(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), LONG_S)


async def status_of(url: str, key: str = "", body: object = None) -> int:
    """Of /health, or of a body sent with a key; over a connection of its own."""
    async with httpx.AsyncClient(trust_env=False, timeout=LONG_S) as client:
        if not key:
            return (await client.get(url)).status_code
        given = {"text": "a"} if body is None else body
        return (await client.post(url, json=given, headers={"Authorization": f"Bearer {key}"})).status_code
