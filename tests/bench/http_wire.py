"""HTTP/1.1 clients that cost next to nothing, so that they never limit the server that is measured."""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import urlsplit


class Refused(Exception):
    """The server answered with another status than 200."""


def request_bytes(host: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One kept-alive connection of asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, url: str) -> Connection:
        """A connection to the server of an address."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22))

    async def post(self, request: bytes) -> int:
        """The bytes of the reply's body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if "content-length" in fields:
            body = await self._reader.readexactly(int(fields["content-length"]))
        else:
            body = await self._chunks()
        if " 200 " not in lines[0] + " ":
            raise Refused(f"{lines[0]}: {body[:300]!r}")
        return len(body)

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)

    async def close(self) -> None:
        """Ends the connection."""
        self._writer.close()
        await self._writer.wait_closed()


def post_blocking(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The body of a large reply: the standard library reads it into one block."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    try:
        connection.request("POST", parts.path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise Refused(f"{reply.status}: {content[:300]!r}")
        return content
    finally:
        connection.close()
