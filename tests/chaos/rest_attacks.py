"""What one hostile client on loopback does to a REST port, bounded in count, bytes and seconds."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

MIB = 1024 * 1024
MOST_S = 10.0
MOST_BYTES = 200 * MIB
PIECE = 64 * 1024
LOST = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

Attack = Callable[[str, str | None], Awaitable[None]]


@asynccontextmanager
async def _line(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _head(target: str, key: str | None, *fields: str, method: str = "POST") -> bytes:
    keys = () if key is None else (f"Authorization: Bearer {key}",)
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *keys, *fields)).encode() + b"\r\n\r\n"


def _get(target: str) -> bytes:
    return _head(target, None, method="GET")


async def _flood(url: str, start: bytes, piece: bytes, most_bytes: int = MOST_BYTES) -> None:
    """Sends the start and then pieces, until the other side closes or the bounds are reached."""
    with suppress(*LOST):
        async with asyncio.timeout(MOST_S), _line(url) as (_, writer):
            writer.write(start)
            sent = 0
            while sent < most_bytes:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()


async def _held(url: str, start: bytes, seconds: float = MOST_S) -> None:
    """Sends the start and holds the connection, reading what comes."""
    with suppress(*LOST):
        async with asyncio.timeout(seconds), _line(url) as (reader, writer):
            writer.write(start)
            await writer.drain()
            while await reader.read(PIECE):
                pass


async def _answered(url: str, content: Iterable[bytes]) -> None:
    """Sends one request and waits for the first of its answer."""
    with suppress(*LOST):
        async with asyncio.timeout(MOST_S), _line(url) as (reader, writer):
            for each in content:
                writer.write(each)
                await writer.drain()
            await reader.readuntil(b"\r\n\r\n")


def _body(target: str, key: str | None, body: bytes, *fields: str) -> tuple[bytes, ...]:
    return (_head(target, key, f"Content-Length: {len(body)}", *fields), body)


async def endless_header(url: str, key: str | None) -> None:
    """Four connections send one header without end."""
    start = b"GET /health HTTP/1.1\r\nX-A: "
    await asyncio.gather(*(_flood(url, start, b"a" * PIECE) for _ in range(4)))


async def endless_headers(url: str, key: str | None) -> None:
    """Four connections send headers without end."""
    lines = b"".join(b"X-%06d: a\r\n" % number for number in range(5000))
    await asyncio.gather(*(_flood(url, b"GET /health HTTP/1.1\r\n", lines) for _ in range(4)))


async def endless_trailers(url: str, key: str | None) -> None:
    """Four connections send trailers without end."""
    lines = b"".join(b"X-%06d: a\r\n" % number for number in range(5000))
    start = _head("/extract", key, "Transfer-Encoding: chunked") + b"0\r\n"
    await asyncio.gather(*(_flood(url, start, lines) for _ in range(4)))


async def endless_chunk_extension(url: str, key: str | None) -> None:
    """Four connections send one chunk extension without end."""
    start = _head("/extract", key, "Transfer-Encoding: chunked") + b"1;a="
    await asyncio.gather(*(_flood(url, start, b"a" * PIECE) for _ in range(4)))


async def pipelined(url: str, key: str | None) -> None:
    """Four connections ask for /docs in a row, as fast as it is taken, and read no answer."""
    await asyncio.gather(*(_flood(url, b"", _get("/docs") * 2000, 40 * MIB) for _ in range(4)))


async def slow_readers(url: str, key: str | None) -> None:
    """200 connections ask ten times for the OpenAPI document and read nothing."""

    async def ask() -> None:
        with suppress(*LOST):
            async with asyncio.timeout(MOST_S), _line(url) as (reader, writer):
                reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way to read nothing
                writer.write(_get("/openapi.json") * 10)
                await asyncio.sleep(MOST_S)

    await asyncio.gather(*(ask() for _ in range(200)))


async def silent_connections(url: str, key: str | None) -> None:
    """1,100 connections send nothing, or half a head."""
    halves = (b"", b"POST /extract HTTP/1.1\r\nHost: x\r\n")
    await asyncio.gather(*(_held(url, halves[number % 2]) for number in range(1100)))


async def wrong_key(url: str, key: str | None) -> None:
    """Six bodies of 60 MiB with a wrong key."""
    start = _head("/extract", "wrong", f"Content-Length: {60 * MIB}")
    await asyncio.gather(*(_flood(url, start, bytes(PIECE), 60 * MIB) for _ in range(6)))


async def offers_of_http2(url: str, key: str | None) -> None:
    """500 requests that offer h2c, with requests in their bodies."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
    hidden = _get("/docs") * 100
    await asyncio.gather(*(_answered(url, _body("/extract", None, hidden, *offer)) for _ in range(500)))


async def bodies_that_never_come(url: str, key: str | None) -> None:
    """200 requests with the key declare 60 MiB and send one byte."""
    start = _head("/extract", key, f"Content-Length: {60 * MIB}") + b"{"
    await asyncio.gather(*(_held(url, start) for _ in range(200)))


async def slow_bodies(url: str, key: str | None) -> None:
    """Twelve bodies with the key send 50 of 60 MiB, then a byte a second."""

    async def trickle() -> None:
        with suppress(*LOST):
            async with asyncio.timeout(MOST_S), _line(url) as (_, writer):
                writer.write(_head("/extract", key, f"Content-Length: {60 * MIB}"))
                for _ in range(50 * MIB // PIECE):
                    writer.write(b" " * PIECE)
                    await writer.drain()
                while True:
                    await asyncio.sleep(1)
                    writer.write(b" ")
                    await writer.drain()

    await asyncio.gather(*(trickle() for _ in range(12)))


async def numbers_for_texts(url: str, key: str | None) -> None:
    """Four bodies of numbers where texts belong: 4 MB, then 60 MB."""
    for count in (2_000_000, 30_000_000):
        body = b'{"text": [' + b"1," * count + b"1]}"
        await asyncio.gather(*(_answered(url, _body("/extract", key, body)) for _ in range(2)))


async def many_small_values(url: str, key: str | None) -> None:
    """Bodies of 32 MB that unpack to many times as much."""
    for piece in (b"[],", b'{"a":{}},', b'"ab",', b"0.5,"):
        body = b'{"text": [' + piece * (32 * MIB // len(piece)) + b"1]}"
        await _answered(url, _body("/extract", key, body))


async def unknown_names(url: str, key: str | None) -> None:
    """A body of 300,000 names that nobody knows."""
    body = json.dumps({f"name{number}": number for number in range(300_000)}).encode()
    await _answered(url, _body("/extract", key, body))


async def gzip_bombs(url: str, key: str | None) -> None:
    """Twenty packed bodies of 60 MB each."""
    packed = gzip.compress(b" " * 60_000_000)
    asked = _body("/extract", key, packed, "Content-Encoding: gzip")
    await asyncio.gather(*(_answered(url, asked) for _ in range(20)))


async def large_pictures(url: str, key: str | None) -> None:
    """Twelve bodies of 40 MB that hold no picture."""
    body = b'{"image": "' + base64.b64encode(bytes(30 * MIB)) + b'"}'
    await asyncio.gather(*(_answered(url, _body("/extract", key, body)) for _ in range(12)))


WITHOUT_KEY: Mapping[str, Attack] = {
    each.__name__: each
    for each in (
        endless_header, endless_headers, endless_trailers, endless_chunk_extension, pipelined, slow_readers,
        silent_connections, wrong_key, offers_of_http2,
    )
}  # fmt: skip
WITH_KEY: Mapping[str, Attack] = {
    each.__name__: each
    for each in (
        bodies_that_never_come, slow_bodies, numbers_for_texts, many_small_values, unknown_names, gzip_bombs,
        large_pictures,
    )
}  # fmt: skip
REST_ATTACKS: Mapping[str, Attack] = {**WITHOUT_KEY, **WITH_KEY}
"""By name: `await REST_ATTACKS[name](url, key)`, where url is that of a REST port of loopback with /extract."""
