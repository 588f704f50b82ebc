"""Clients in a process of their own: asyncio, raw gRPC stubs or raw HTTP/1.1, questions made beforehand.

They do not decode replies unless a row is about that, so that the client is never what limits a server.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc

from tests.bench.children import answer_commands
from tests.bench.http_wire import Connection, request_bytes
from tests.bench.questions import QUESTIONS, grpc_bytes, json_bytes

MADE = 2048
"""Questions made beforehand, where a row does not say how many it needs; then they begin anew."""
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
Call = Callable[[bytes], Awaitable[int]]
"""Asks, and tells the bytes of the reply."""


@dataclass
class Tally:
    """What the clients of one run have seen."""

    until: float
    most: int
    sent: int = 0
    nbytes: int = 0
    latencies: list[float] = field(default_factory=list)

    def next(self) -> int | None:
        """The number of the next question, if there is to be one."""
        if self.sent >= self.most or time.perf_counter() >= self.until:
            return None
        self.sent += 1
        return self.sent - 1


async def _clients(call_of: list[Call], questions: list[bytes], tally: Tally) -> None:
    async def client(call: Call) -> None:
        while (number := tally.next()) is not None:
            began = time.perf_counter()
            tally.nbytes += await call(questions[number % len(questions)])
            tally.latencies.append(1000 * (time.perf_counter() - began))

    await asyncio.gather(*(client(call) for call in call_of))


async def _measured(call_of: list[Call], questions: list[bytes], spec: dict[str, Any]) -> dict[str, Any]:
    if warm := spec.get("warm", 0):
        await _clients(call_of, questions[-warm:], Tally(float("inf"), warm))
    gc.collect()
    gc.freeze()
    tally = Tally(time.perf_counter() + spec.get("seconds", 1e9), spec.get("count", 1 << 30))
    cpu, began = time.process_time(), time.perf_counter()
    await _clients(call_of, questions, tally)
    elapsed = time.perf_counter() - began
    return {
        "rate": len(tally.latencies) / elapsed,
        "latencies": tally.latencies,
        "bytes_in": tally.nbytes,
        "client_cpu": (time.process_time() - cpu) / elapsed,
    }


async def _over_grpc(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = (("authorization", f"Bearer {spec['key']}"),) if spec.get("key") else ()
    metadata += tuple((name, value) for name, value in spec.get("metadata", {}).items())
    method = spec.get("method") or QUESTIONS[spec["ask"]].method
    # Several connections, as several client programs have; each is one HTTP/2 stream of bytes.
    channels = [
        grpc.aio.insecure_channel(spec["target"], (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)))
        for _ in range(min(spec["clients"], spec.get("channels", 4)))
    ]

    def call(channel: grpc.aio.Channel) -> Call:
        unary, stream = channel.unary_unary(method), channel.unary_stream(method)

        async def whole(request: bytes) -> int:
            return len(await unary(request, metadata=metadata))

        async def in_parts(request: bytes) -> int:
            return sum([len(part) async for part in stream(request, metadata=metadata)])

        return in_parts if spec.get("stream") else whole

    try:
        stubs = [call(channel) for channel in channels]
        call_of = [stubs[number % len(stubs)] for number in range(spec["clients"])]
        return await _measured(call_of, _made(spec, grpc_bytes), spec)
    finally:
        for channel in channels:
            await channel.close()


async def _over_http(spec: dict[str, Any]) -> dict[str, Any]:
    host = urlsplit(spec["url"]).netloc
    path = spec.get("path") or QUESTIONS[spec["ask"]].path
    headers = {"Content-Type": "application/json", **spec.get("headers", {})}
    if spec.get("key"):
        headers["Authorization"] = f"Bearer {spec['key']}"
    connections = [await Connection.to(spec["url"]) for _ in range(spec["clients"])]
    bodies = _made(spec, json_bytes)
    questions = [request_bytes(host, path, body, headers) for body in bodies]
    try:
        return await _measured([each.post for each in connections], questions, spec)
    finally:
        for each in connections:
            await each.close()


def _made(spec: dict[str, Any], encode: Callable[[str, int, dict[str, Any]], bytes]) -> list[bytes]:
    if "sizes" in spec:
        return [bytes(spec["sizes"])]
    first, args = spec.get("first", 0), spec["args"]
    return [encode(spec["ask"], first + number, args) for number in range(spec.get("distinct", MADE))]


def run(**spec: Any) -> dict[str, Any]:
    """One run of clients; see `_measured` for the answer."""
    return asyncio.run(_over_grpc(spec) if "target" in spec else _over_http(spec))


if __name__ == "__main__":
    print('{"event": "ready"}', flush=True)
    answer_commands({"run": run})
