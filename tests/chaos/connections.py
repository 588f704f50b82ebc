"""Connections that ask nothing, and senders that take for ever, by the thousand: others wait no longer for that."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from featsvc.processes import raise_limit
from featsvc.settings.tree import Settings
from featsvc.v1 import clip_pb2, clip_pb2_grpc
from tests.chaos.frames import ACK, PING, PREFACE, SETTINGS, frame
from tests.chaos.report import Report
from tests.servers import KEY, ROOT, Server, running

FLAGS = ("up", "--profile=demo", "--offline", "--devices=cpu", "--preload=demo-clip", "--body-timeout=5")
# Hostile clients come from another address than others do: the ports tell clients apart by theirs.
HOSTILE, GRPC, REST = "127.0.0.2", "gRPC", "REST"
SLOW_PART = 10
"""Of the connections, the part that sends: each a letter now and then."""
BETWEEN_S = 1.0
GREETED_AT_ONCE = 256
# Who is let in is held for 5 s at least (--body-timeout); to be turned away may take a while in such a crowd.
TURNED_AWAY_S = 4.0
CALLS, FIRST_CALLS = 500, 50
MOST_SLOWER = 1.5
MOST_HELD = {GRPC: Settings().max_connections // 2, REST: Settings().rest_connections // 2}
"""What a port holds of one address; who comes then is turned away."""
LEAST_PART = 0.8
"""Of these that have to be there: those that send slowly are cut, and come again."""
LOST = (OSError, TimeoutError, asyncio.IncompleteReadError)
# Begins a body that is never sent whole.
REQUEST = (
    f"POST /encode_text HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    "Content-Length: 100000\r\n\r\n"
).encode()
OPENING = PREFACE + frame(SETTINGS, 0, 0)

Ask = Callable[[], Awaitable[object]]


def connections(folder: Path, count: int) -> Report:
    """So many connections to each of two ports; a tenth of them sends, a letter a second."""
    return asyncio.run(_crowded(folder, count))


async def _crowded(folder: Path, count: int) -> Report:
    with running(folder / "log", *FLAGS) as server:
        async with (
            grpc.aio.insecure_channel(server.target) as channel,
            httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=30) as web,
        ):
            asks = _asks(server, channel, web)
            # The first calls of a process are its slowest.
            for ask in asks.values():
                await _p99(ask, FIRST_CALLS)
            quiet = {kind: await _p99(ask, CALLS) for kind, ask in asks.items()}
            async with _crowd(server, count) as crowd:
                crowded = {kind: await _p99(ask, CALLS) for kind, ask in asks.items()}
    slower = {kind: crowded[kind] / quiet[kind] for kind in asks}
    figures = ", ".join(
        f"{kind} p99 {1000 * quiet[kind]:.1f} to {1000 * crowded[kind]:.1f} ms" for kind in asks
    )
    held = f"{_told(crowd.first)}, in the end {_told(crowd.last)}"
    what = f"{count} connections to each of two ports, a tenth of them sending slowly; held: {held}"
    faults = [
        f"{kind}: only {there[kind]} were held of {min(most, count)} that have room"
        for there in (crowd.first, crowd.last)
        for kind, most in MOST_HELD.items()
        if there[kind] < LEAST_PART * min(most, count)
    ]
    is_right = max(slower.values()) <= MOST_SLOWER and not faults
    return Report("connections", what, is_right, figures, tuple(faults))


def _told(held: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in held.items())


def _asks(server: Server, channel: grpc.aio.Channel, web: httpx.AsyncClient) -> dict[str, Ask]:
    """Small calls of others: over connections that they have, and over new ones."""
    asked = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a red circle"]))
    key = (("authorization", f"Bearer {KEY}"),)
    stub = clip_pb2_grpc.ClipServiceStub(channel)
    url, body = f"{server.url('clip')}/encode_text", {"text": "a red circle"}

    async def anew() -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(server.target, options) as fresh:
            await clip_pb2_grpc.ClipServiceStub(fresh).EncodeText(asked, metadata=key, timeout=30)

    async def posted() -> None:
        (await web.post(url, json=body)).raise_for_status()

    async def posted_anew() -> None:
        async with httpx.AsyncClient(headers=web.headers, timeout=30) as fresh:
            (await fresh.post(url, json=body)).raise_for_status()

    return {
        GRPC: lambda: stub.EncodeText(asked, metadata=key, timeout=30),
        f"{GRPC} anew": anew,
        REST: posted,
        f"{REST} anew": posted_anew,
    }


async def _p99(ask: Ask, calls: int) -> float:
    """Of calls one after the other; one that fails counts as endless."""
    taken = []
    for _ in range(calls):
        began = time.monotonic()
        try:
            await ask()
        except (grpc.aio.AioRpcError, httpx.HTTPError):
            return float("inf")
        taken.append(time.monotonic() - began)
    return statistics.quantiles(taken, n=100)[98]


@dataclass
class Crowd:
    """The connections, as their process tells: how many there are of each port."""

    first: Mapping[str, int]
    """When all had been tried."""
    last: Mapping[str, int]


@asynccontextmanager
async def _crowd(server: Server, count: int) -> AsyncIterator[Crowd]:
    """So many connections to each port, once all have been tried.

    They come from other machines: what a process of theirs computes is to take nothing from the server.
    """
    words = (sys.executable, "-m", "tests.chaos.connections", server.grpc_port, server.clip_port, count)
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", *map(str, words)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        crowd = Crowd(json.loads(await process.stdout.readline()), {})
        yield crowd
        process.stdin.close()
        crowd.last = json.loads(await process.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _hold_all(grpc_port: int, clip_port: int, count: int) -> None:
    """The process of the crowd: says how many are open when all have been tried, and again when its input ends."""
    raise_limit()
    # Begins before there are so many files that none can be opened.
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    # More at a time than the server can greet would wait until they are taken for dead.
    tried, greeted = asyncio.Semaphore(0), asyncio.Semaphore(GREETED_AT_ONCE)
    held = {
        kind: [
            asyncio.create_task(_keep(Door(port, begins, greeted), tried, is_slow=number % SLOW_PART == 0))
            for number in range(count)
        ]
        for kind, port, begins in ((GRPC, grpc_port, OPENING), (REST, clip_port, REQUEST))
    }

    def tell() -> None:
        there = {kind: sum(not each.done() for each in some) for kind, some in held.items()}
        print(json.dumps(there), flush=True)

    for _ in range(2 * count):
        await tried.acquire()
    tell()
    await ended
    tell()


@dataclass(frozen=True)
class Door:
    """A port of the server."""

    port: int
    begins: bytes
    """What those say first who say anything."""
    greeted: asyncio.Semaphore

    @property
    def is_grpc(self) -> bool:
        return self.begins is OPENING

    async def enter(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that the server has let in, as far as that can be seen: of gRPC it has greeted it."""
        async with self.greeted:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(HOSTILE, 0))
            if self.is_grpc:
                writer.write(self.begins)
                await _answer_one(reader, writer)
        return reader, writer


async def _keep(door: Door, tried: asyncio.Semaphore, *, is_slow: bool) -> None:
    """One connection, and another where the server ends it that had let it in; none where it is turned away."""
    is_let_in = True
    while is_let_in:
        began = float("inf")
        with suppress(*LOST):
            reader, writer = await door.enter()
            began = time.monotonic()
            tried.release()
            await _hold(reader, writer, door, is_slow=is_slow)
        is_let_in = time.monotonic() - began > TURNED_AWAY_S
    tried.release()


async def _hold(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: Door, *, is_slow: bool
) -> None:
    """Until the server ends it. One of gRPC that is idle has agreed on HTTP/2, one of REST has asked nothing yet."""
    try:
        if is_slow and not door.is_grpc:
            writer.write(door.begins)
        while is_slow and not reader.at_eof() and not writer.is_closing():
            await asyncio.sleep(BETWEEN_S)
            writer.write(b"\0" if door.is_grpc else b" ")
            await writer.drain()
        while door.is_grpc and not is_slow:
            await _answer_one(reader, writer)
        while await reader.read(1024):
            pass
    finally:
        writer.close()


async def _answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A frame that comes: HTTP/2 wants settings and pings to be acknowledged, also by whoever says nothing."""
    head = await reader.readexactly(9)
    payload, kind, flags = await reader.readexactly(int.from_bytes(head[:3], "big")), head[3], head[4]
    if kind == SETTINGS and not flags & ACK:
        writer.write(frame(SETTINGS, ACK, 0))
    elif kind == PING and not flags & ACK:
        writer.write(frame(PING, ACK, 0, payload))


if __name__ == "__main__":
    asyncio.run(_hold_all(*map(int, sys.argv[1:])))
