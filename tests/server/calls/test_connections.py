"""What one address may have of the connections of gRPC."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from featsvc.processes import connections_within_files
from featsvc.server.calls.connections import Connections
from tests.chaos.frames import ACK, GOAWAY, PING, PREFACE, SETTINGS, frame
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, Running, heard, start

SHARE = 3
PATIENCE_S = 60
SAID = b"one address may have 3 connections (--max-connections-per-address): use one for many calls"


class Line:
    """A connection to the port of gRPC that has agreed on HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def frame(self) -> tuple[int, int, bytes]:
        """The next one: its kind, its flags and what is in it."""
        head = await asyncio.wait_for(self._reader.readexactly(9), PATIENCE_S)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], payload

    async def is_answered(self) -> bool:
        """Whether the server is there still."""
        self._writer.write(frame(PING, 0, 0, bytes(8)))
        while (await self.frame())[:2] != (PING, ACK):
            pass
        return True

    async def end(self) -> bytes:
        """The last words of the server, which has ended it."""
        said = b""
        try:
            while True:
                kind, _, payload = await self.frame()
                said = payload[8:] if kind == GOAWAY else said
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return said


@asynccontextmanager
async def line(served: Running, address: str = "127.0.0.2") -> AsyncIterator[Line]:
    port = served.gateway.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        found = Line(reader, writer)
        assert await found.is_answered()
        yield found
    finally:
        writer.close()


@pytest.mark.parametrize(("is_encrypted", "said"), [(False, SAID), (True, b"")])
async def test_the_newest_of_who_has_more_than_its_share_are_ended(
    served: Running, is_encrypted: bool, said: bytes
) -> None:
    counted = Connections(served.gateway.port, SHARE, is_encrypted=is_encrypted)
    async with AsyncExitStack() as stack, heard("featsvc.server.connections") as logged:
        old = [await stack.enter_async_context(line(served)) for _ in range(SHARE)]
        assert counted.end_surplus() == 0
        others = [await stack.enter_async_context(line(served, "127.0.0.3")) for _ in range(SHARE)]
        new = [await stack.enter_async_context(line(served)) for _ in range(2)]
        assert counted.end_surplus() == 2
        assert [await each.end() for each in new] == [said, said]
        for each in (*old, *others):
            assert await each.is_answered()
        told = await logged.get()
        assert {name: told[name] for name in ("peer", "ended", "open", "most")} == {
            "peer": "127.0.0.2", "ended": 2, "open": 5, "most": SHARE,
        }  # fmt: skip
        assert counted.end_surplus() == 0


async def test_only_connections_of_the_port_are_ended(served: Running) -> None:
    async with start() as other, line(other), line(other) as second, line(served):
        assert Connections(served.gateway.port, 1, is_encrypted=False).end_surplus() == 0
        assert await second.is_answered()
        # Neither its listening socket nor those of the worker is among them.
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)


async def test_a_server_ends_the_surplus_and_serves_others() -> None:
    async with start(max_connections_per_address=2) as served, AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line(served)) for _ in range(2)]
        assert await (await stack.enter_async_context(line(served))).end()
        assert all([await each.is_answered() for each in lines])
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)


async def test_one_address_has_half_of_the_connections_at_most() -> None:
    async with start(max_connections=4) as served, AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line(served)) for _ in range(3)]
        assert b"one address may have 2 connections" in await lines[2].end()
        assert all([await each.is_answered() for each in lines[:2]])


def test_connections_take_half_of_the_files_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, ports, within in ((256, 1, 128), (256, 4, 32), (4, 4, 1), (100_000, 1, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=limit: (hard, hard))
        assert connections_within_files(4096, ports) == within
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    assert connections_within_files(4096) == 4096
