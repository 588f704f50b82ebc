"""What one hostile client on loopback does to the gRPC port, bounded in count, bytes and seconds."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from google.protobuf.message import Message

from featsvc.v1 import clip_pb2, image_pb2, sam2_pb2
from tests.chaos.frames import Connection, message

MIB = 1024 * 1024
MOST_S = 10.0
ENCODE = "/featsvc.v1.ClipService/EncodeText"
EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"
STREAM = "/featsvc.v1.ClipService/ExtractFeaturesStream"
PREDICT = "/featsvc.v1.Sam2Service/PredictMasks"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LOST = (OSError, TimeoutError, asyncio.IncompleteReadError)

Fields = tuple[tuple[str, str], ...]
Attack = Callable[[int, str], Awaitable[None]]


def _with(key: str, *more: tuple[str, str]) -> Fields:
    return (("authorization", f"Bearer {key}"), *more)


async def _asked(port: int, method: str, fields: Fields, body: bytes, *, last: bool = True) -> None:
    """One call over a connection of its own; waits for its end."""
    with suppress(*LOST):
        async with asyncio.timeout(MOST_S), Connection(port) as connection:
            stream = connection.call(method, fields)
            await connection.send(stream, body, last=last)
            await connection.until_ended(stream)


async def _held(port: int, connections: int, each: Callable[[Connection], None]) -> None:
    """Connections that do something at once, and then stay for the time of an attack."""
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            with suppress(*LOST):
                each(await stack.enter_async_context(Connection(port)))
        await asyncio.sleep(MOST_S)


def _calls(method: str, fields: Fields, count: int, body: bytes = b"") -> Callable[[Connection], None]:
    def open_all(connection: Connection) -> None:
        for _ in range(count):
            stream = connection.call(method, fields)
            if body:
                connection.data(stream, body)

    return open_all


async def silent_calls(port: int, key: str) -> None:
    """2,000 headers without a message over one connection, and as many over ten."""
    opened = _calls(ENCODE, _with("wrong"), 2000)
    await asyncio.gather(_held(port, 1, opened), _held(port, 10, _calls(ENCODE, (), 200)))


async def rapid_resets(port: int, key: str) -> None:
    """Two connections open calls and reset them at once, as fast as it goes."""

    async def reset() -> None:
        ends = time.monotonic() + 8
        async with Connection(port) as connection:
            while time.monotonic() < ends and not connection.is_closed:
                for _ in range(100):
                    connection.reset(connection.call(ENCODE, _with("wrong")))
                await connection.drain()

    await asyncio.gather(reset(), reset())


async def wrong_key(port: int, key: str) -> None:
    """Six messages of 60 MiB with a wrong key."""
    body = message(bytes(60 * MIB))
    await asyncio.gather(*(_asked(port, ENCODE, _with("wrong"), body) for _ in range(6)))


async def many_wrong_keys(port: int, key: str) -> None:
    """Eight connections with a hundred calls each that send 64 KB before anybody answers."""
    await _held(port, 8, _calls(ENCODE, _with("wrong"), 100, message(bytes(60_000), declared=MIB)))


async def stalled_wrong_key(port: int, key: str) -> None:
    """Twenty messages of 60 MB with a wrong key that stop before their last byte."""
    body = message(bytes(60_000_000), declared=60_000_001)
    await asyncio.gather(*(_asked(port, ENCODE, _with("wrong"), body, last=False) for _ in range(20)))


async def endless_health_checks(port: int, key: str) -> None:
    """Eight messages of 100 MB to what needs no key."""
    body = message(bytes(100 * MIB), declared=2**31)
    await asyncio.gather(*(_asked(port, CHECK, (), body, last=False) for _ in range(8)))


async def watchers(port: int, key: str) -> None:
    """3,000 callers watch the health of the server."""
    await _held(port, 30, _calls(WATCH, (), 100, message(b"")))


async def packed_wrong_key(port: int, key: str) -> None:
    """80 packed messages of 58 KB with a wrong key."""
    fields = _with("wrong", ("grpc-encoding", "gzip"))
    packed = message(gzip.compress(bytes(60_000_000)), compressed=True)
    await asyncio.gather(*(_asked(port, ENCODE, fields, packed) for _ in range(80)))


async def idle_connections(port: int, key: str) -> None:
    """1,100 connections that ask nothing."""
    await _held(port, 1100, lambda _: None)


async def pings(port: int, key: str) -> None:
    """Ten connections that ping without a pause."""

    async def ping() -> None:
        ends = time.monotonic() + 5
        async with Connection(port) as connection:
            while time.monotonic() < ends and not connection.is_closed:
                for _ in range(100):
                    connection.ping()
                await connection.drain()

    await asyncio.gather(*(ping() for _ in range(10)))


async def silent_streams(port: int, key: str) -> None:
    """1,200 streams with a key that say nothing, over twelve connections."""
    await _held(port, 12, _calls(STREAM, _with(key), 100))


async def stalled(port: int, key: str) -> None:
    """Twenty messages of 60 MB with a key that stop before their last byte."""
    body = message(bytes(60_000_000), declared=60_000_001)
    await asyncio.gather(*(_asked(port, ENCODE, _with(key), body, last=False) for _ in range(20)))


async def endless_messages(port: int, key: str) -> None:
    """Four messages that declare 2 GiB, with a key."""
    body = message(bytes(600 * MIB), declared=2**31)
    await asyncio.gather(*(_asked(port, STREAM, _with(key), body, last=False) for _ in range(4)))


async def packed(port: int, key: str) -> None:
    """80 packed messages of 58 KB with a key."""
    fields = _with(key, ("grpc-encoding", "gzip"))
    body = message(gzip.compress(bytes(60_000_000)), compressed=True)
    await asyncio.gather(*(_asked(port, ENCODE, fields, body) for _ in range(80)))


async def _sent(port: int, method: str, key: str, asked: Message, times: int) -> None:
    body = message(asked.SerializeToString())
    await asyncio.gather(*(_asked(port, method, _with(key), body) for _ in range(times)))


async def wrong_items(port: int, key: str) -> None:
    """Lists of a million and of eight million wrong labels, of a million points, and of texts without letters."""
    for count in (1_000_000, 8_000_000):
        prompt = sam2_pb2.Prompt(point_labels=[7] * count)
        await _sent(port, PREDICT, key, sam2_pb2.PredictMasksRequest(prompts=[prompt]), 4)
    point = sam2_pb2.Prompt(point_coords=[sam2_pb2.Point(x=1, y=1)] * 1_000_000)
    await _sent(port, PREDICT, key, sam2_pb2.PredictMasksRequest(prompts=[point]), 4)
    texts = clip_pb2.Texts(text=[""] * 10_000_000)
    await _sent(port, ENCODE, key, clip_pb2.EncodeTextRequest(texts=texts), 4)


@asynccontextmanager
async def _host(pieces: int) -> AsyncIterator[str]:
    """A picture host on loopback: `pieces` pieces of 64 KB, or silence for none."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*LOST, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            if not pieces:
                await asyncio.sleep(MOST_S)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(pieces):
                writer.write(bytes(65536))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/picture"


async def endless_pictures(port: int, key: str) -> None:
    """60 tiny requests with addresses of endless bodies; the server must allow loopback."""
    async with _host(1000) as url:
        asked = clip_pb2.ClipServiceExtractFeaturesRequest(image=image_pb2.Image(url=url))
        await _sent(port, EXTRACT, key, asked, 60)


async def silent_hosts(port: int, key: str) -> None:
    """200 tiny requests with addresses of hosts that do not answer."""
    async with _host(0) as url:
        asked = clip_pb2.ClipServiceExtractFeaturesRequest(image=image_pb2.Image(url=url))
        await _sent(port, EXTRACT, key, asked, 200)


WITHOUT_KEY: Mapping[str, Attack] = {
    each.__name__: each
    for each in (
        silent_calls, rapid_resets, wrong_key, many_wrong_keys, stalled_wrong_key, endless_health_checks, watchers,
        packed_wrong_key, idle_connections, pings,
    )
}  # fmt: skip
WITH_KEY: Mapping[str, Attack] = {
    each.__name__: each
    for each in (
        silent_streams, stalled, endless_messages, packed, wrong_items, endless_pictures, silent_hosts,
    )
}  # fmt: skip
