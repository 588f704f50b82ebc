"""Connections that ask nothing, and senders that take for ever, by the thousand: others wait no longer for that."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import httpx

from featsvc.v1 import clip_pb2, clip_pb2_grpc
from tests.chaos.report import Report
from tests.servers import KEY, Server, running

FLAGS = ("up", "--profile=demo", "--offline", "--devices=cpu", "--preload=demo-clip", "--body-timeout=5")
# Hostile clients come from another address than others do: the ports tell clients apart by theirs.
HOSTILE, GRPC, REST = "127.0.0.2", "gRPC", "REST"
SLOW_PART = 10
"""Of the connections, the part that sends: each a letter now and then."""
BETWEEN_S = 1.0
CALLS = 200
MOST_SLOWER = 1.5
LOST = (OSError, TimeoutError, asyncio.IncompleteReadError)
# Begins a body that is never sent whole.
REQUEST = (
    f"POST /encode_text HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    "Content-Length: 100000\r\n\r\n"
).encode()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")

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
            # Twice, for the first calls of a process are its slowest.
            quiet = {kind: await _p99(ask) for _ in range(2) for kind, ask in asks.items()}
            held = [
                asyncio.create_task(_hold(port, begins, is_slow=number % SLOW_PART == 0))
                for port, begins in ((server.grpc_port, PREFACE), (server.clip_port, REQUEST))
                for number in range(count)
            ]
            # Once all that are let in are there.
            await asyncio.wait(held, timeout=BETWEEN_S)
            crowded = {kind: await _p99(ask) for kind, ask in asks.items()}
            open_now = sum(not each.done() for each in held)
            for each in held:
                each.cancel()
            await asyncio.gather(*held, return_exceptions=True)
    slower = {kind: crowded[kind] / quiet[kind] for kind in asks}
    figures = ", ".join(
        f"{kind} p99 {1000 * quiet[kind]:.1f} to {1000 * crowded[kind]:.1f} ms" for kind in asks
    )
    what = f"{count} connections to each of two ports, {open_now} of {2 * count} held, a tenth of them sending slowly"
    return Report("connections", what, max(slower.values()) <= MOST_SLOWER, figures)


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


async def _p99(ask: Ask) -> float:
    """Of calls one after the other; one that fails counts as endless."""
    taken = []
    for _ in range(CALLS):
        began = time.monotonic()
        try:
            await ask()
        except (grpc.aio.AioRpcError, httpx.HTTPError):
            return float("inf")
        taken.append(time.monotonic() - began)
    return statistics.quantiles(taken, n=100)[98]


async def _hold(port: int, begins: bytes, *, is_slow: bool) -> None:
    """Until the server ends it."""
    with suppress(*LOST):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(HOSTILE, 0))
        try:
            if is_slow:
                writer.write(begins)
                while not reader.at_eof() and not writer.is_closing():
                    await asyncio.sleep(BETWEEN_S)
                    writer.write(b" " if begins is REQUEST else b"\0")
                    await writer.drain()
            else:
                await reader.read()
        finally:
            writer.close()
