"""HTTP as bytes: requests that no library would send, and answers read by their framing alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from tests.rest.fake_gateway import KEY
from tests.rest.shim import PICTURE, Shim

PATIENCE_S = 20


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> object:
        return orjson.loads(self.body)["detail"]


@dataclass(frozen=True)
class Wire:
    """A connection to a port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *content: bytes) -> None:
        """Sends the bytes, as fast as they are taken."""
        for each in content:
            self.writer.write(each)
            await asyncio.wait_for(self.writer.drain(), PATIENCE_S)

    async def answer(self, *, of_head: bool = False) -> Answer:
        """The next response."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (field.partition(":") for field in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = 0 if of_head else int(headers.get("content-length", 0))
        body = await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_S)
        return Answer(int(line.split()[1]), headers, body)

    async def end(self) -> bytes:
        """What still comes before the other side closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def wire(ports: Shim, family: str = "clip") -> AsyncIterator[Wire]:
    """A new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.ports[family])
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request(
    body: bytes | None = None,
    *fields: str,
    target: str = "/extract",
    key: str | None = KEY,
    method: str = "POST",
) -> bytes:
    """A request with its body; the body may be left out where `fields` say how it comes."""
    length = () if body is None else (f"Content-Length: {len(body)}",)
    keys = () if key is None else (f"Authorization: Bearer {key}",)
    head = "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *keys, *length, *fields))
    return head.encode("latin-1") + b"\r\n\r\n" + (body or b"")


def get(target: str = "/health", *fields: str) -> bytes:
    """A request without a body."""
    return request(None, *fields, target=target, key=None, method="GET")


def question(**fields: object) -> bytes:
    """A body that is answered."""
    return orjson.dumps({"image": PICTURE, **fields})


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (*chunks, b""))
