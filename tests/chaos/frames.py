"""HTTP/2 frames as a hostile gRPC client sends them: by hand, because well-behaved libraries refuse to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8
MOST_DATA = 16384
# As much as a server may send without asking: replies are not what these connections are about.
WIDE = 2**31 - 1 - 65535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers(method: str, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """The header block of a gRPC call, every field a literal that no table keeps."""
    fields = (
        (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    )  # fmt: skip
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def message(body: bytes, declared: int | None = None, compressed: bool = False) -> bytes:
    """A gRPC message, which may declare more bytes than it has."""
    return struct.pack(">BI", compressed, len(body) if declared is None else declared) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, size = len(raw) - 127, bytearray((127,))
    while rest > 127:
        size.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*size, rest)) + raw


class Connection:
    """One connection; use with `async with`. What the server sends is read, and its windows are kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._next = 1
        self.window = 65535
        self._windows: dict[int, int] = {}
        self._initial = 65535
        self._more = asyncio.Event()
        self.ended: dict[int, bytes] = {}
        """The last header block or reset of each stream that the server ended."""
        self.is_closed = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(
            PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE))
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def call(self, method: str, more: Sequence[tuple[str, str]] = ()) -> int:
        """Opens a stream by its headers; its number."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._initial
        self.write(frame(HEADERS, END_HEADERS, stream, headers(method, more)))
        return stream

    def data(self, stream: int, body: bytes) -> None:
        """Sends one frame of data, whatever the server's windows say."""
        for start in range(0, len(body), MOST_DATA):
            self.write(frame(DATA, 0, stream, body[start : start + MOST_DATA]))

    def reset(self, stream: int) -> None:
        """Ends a stream at once."""
        self.write(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))

    def ping(self) -> None:
        """Sends a ping."""
        self.write(frame(PING, 0, 0, bytes(8)))

    def write(self, raw: bytes) -> None:
        """Sends bytes as they are."""
        if not self.is_closed:
            self._writer.write(raw)

    async def drain(self) -> None:
        """Waits until the system has taken what was written."""
        with suppress(OSError):
            await self._writer.drain()

    async def send(self, stream: int, body: bytes, *, last: bool = False) -> int:
        """Sends data as the server's windows allow, until the stream ends; how much was sent."""
        view, sent = memoryview(body), 0
        while sent < len(view) and stream not in self.ended and not self.is_closed:
            room = min(self.window, self._windows[stream], MOST_DATA, len(view) - sent)
            if room <= 0:
                self._more.clear()
                await self._more.wait()
                continue
            self.window -= room
            self._windows[stream] -= room
            is_end = last and sent + room == len(view)
            self.write(frame(DATA, END_STREAM if is_end else 0, stream, bytes(view[sent : sent + room])))
            sent += room
            await self.drain()
        return sent

    async def until_ended(self, stream: int) -> bytes:
        """What the server ended the stream with."""
        while stream not in self.ended and not self.is_closed:
            self._more.clear()
            await self._more.wait()
        return self.ended.get(stream, b"")

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
                self._more.set()
        except (asyncio.IncompleteReadError, OSError):
            self.is_closed = True
            self._more.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == 4:
                    self._windows = {
                        each: size + value - self._initial for each, size in self._windows.items()
                    }
                    self._initial = value
            self.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            size = int.from_bytes(payload, "big")
            if stream:
                self._windows[stream] = self._windows.get(stream, 0) + size
            else:
                self.window += size
        elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
            self.ended.setdefault(stream, payload)
