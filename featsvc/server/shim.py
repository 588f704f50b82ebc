"""The REST shim beside a gateway: a process of its own, started again when it dies."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from asyncio.subprocess import PIPE, Process
from types import TracebackType
from typing import Self

from featsvc.errors import Unavailable
from featsvc.server.settings import Settings, child_environment
from featsvc.server.sources import shown

log = logging.getLogger("featsvc.server.shim")
# A shim that ends sooner than this after its start has a reason that another start will not mend.
YOUNG_S = 5.0
LEAVING_S = 5.0
PORTS = ("clip_port", "dino_port", "sam2_port")


class Shim:
    """The three REST ports; use with `async with`, which raises Unavailable where the shim cannot start."""

    def __init__(self, settings: Settings, grpc_port: int, keys: tuple[str, ...]) -> None:
        self._settings = settings
        self._grpc_port = grpc_port
        self._keys = keys
        self.ports = {name: getattr(settings, name) for name in PORTS}

    async def __aenter__(self) -> Self:
        process = await self._started()
        self._keeper = asyncio.create_task(self._keep(process), name="shim")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def failed(self) -> None:
        """Raises Unavailable when the shim died and cannot be started again; until then it waits."""
        await asyncio.shield(self._keeper)

    async def _started(self) -> Process:
        """A shim that listens. Later ones take the ports that the first one got, also where those were free ones."""
        flags = {
            "host": self._settings.host,
            "grpc_target": f"{_reachable(self._settings.host)}:{self._grpc_port}",
            "timeout": self._settings.request_timeout,
            "workers": self._settings.rest_workers,
            "cors_origins": shown(self._settings.cors_origins),
            "max_body_bytes": self._settings.max_request_bytes,
            "max_reply_bytes": self._settings.max_reply_bytes,
            "grace": self._settings.grace,
            "log_level": self._settings.log_level,
            **self.ports,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rest_shim.serve"),
            *(f"--{name.replace('_', '-')}={value}" for name, value in flags.items()),
            # The pipe ends with this process, however that ends, and the shim ends with the pipe.
            "--end-with-stdin",
            stdin=PIPE,
            stdout=PIPE,
            # A command line is open to every user of the machine, an environment is not.
            env=child_environment(FEATSVC_API_KEY=shown(self._keys)),
        )
        line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise Unavailable(f"the REST shim ended with {await process.wait()}; its log says why")
        self.ports = {name: json.loads(line)[name] for name in PORTS}
        return process

    async def _keep(self, process: Process) -> None:
        began = time.monotonic()
        try:
            while True:
                code = await process.wait()
                log.error("the REST shim died", extra={"code": code})
                if time.monotonic() - began < YOUNG_S:
                    raise Unavailable(
                        f"the REST shim died with {code} right after its start; its log says why"
                    )
                process, began = await self._started(), time.monotonic()
        finally:
            await self._ended(process)

    async def _ended(self, process: Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            # Its own grace is the same; a little more lets it say goodbye.
            await asyncio.wait_for(process.wait(), self._settings.grace + LEAVING_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _reachable(host: str) -> str:
    """Where a process of this machine reaches a server that listens on `host`."""
    bare = host.strip("[]")
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return everywhere.get(bare, f"[{bare}]" if ":" in bare else bare)
