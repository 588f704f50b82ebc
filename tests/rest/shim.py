"""The page and the three ports, served by real uvicorn in the loop of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from rest_shim.processes.serving import bound, serve
from rest_shim.processes.settings import RunnerSettings
from tests.rest.fake_gateway import KEY

PORTS = ("page", "clip", "dino", "sam2")
PICTURE = "aGVsbG8gd29ybGQ="
PICTURE_BYTES = b"hello world"


@dataclass(frozen=True)
class Shim:
    """Where the ports are, and a client."""

    ports: Mapping[str, int]
    client: httpx.AsyncClient
    stop: asyncio.Event
    """To be set for the ports to shut down, while the client goes on."""

    def url(self, family: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[family]}{path}"

    async def post(self, family: str, path: str, body: object, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {KEY}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.client.post(self.url(family, path), json=body, headers=sent)

    async def raw(
        self, family: str, path: str, content: bytes | AsyncIterator[bytes], **headers: str
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(self.url(family, path), content=content, headers=sent)


async def until_asked(ports: Shim, asked: asyncio.Event) -> asyncio.Task[httpx.Response]:
    """A call that waits at the gateway for features of CLIP; it is made until there is place for it."""
    arriving = asyncio.create_task(asked.wait())
    while True:
        # A gateway counts a call that it has answered a moment longer.
        calling = asyncio.create_task(ports.post("clip", "/extract", {"image": PICTURE}))
        await asyncio.wait((calling, arriving), return_when=asyncio.FIRST_COMPLETED)
        if arriving.done():
            return calling


@asynccontextmanager
async def shim(target: str, **changed: object) -> AsyncIterator[Shim]:
    """The page and the ports on free sockets of loopback, in front of a gateway."""
    settings = RunnerSettings(**{"request_timeout": 30.0, "grace": 1.0, **changed})  # type: ignore[arg-type]
    sockets: dict[str, socket.socket] = {family: bound("127.0.0.1", 0) for family in PORTS}
    ports = {family: each.getsockname()[1] for family, each in sockets.items()}
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, target, sockets, stop))
    try:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            yield Shim(ports, client, stop)
    finally:
        stop.set()
        await serving
