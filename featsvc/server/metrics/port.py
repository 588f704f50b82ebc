"""A port for programs that ask one short question by HTTP: the answer, and the connection ends.

It runs on the gateway's event loop and waits nowhere: a connection has a few seconds, and of many the oldest of the
address that has most gives way.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

import h11

from featsvc.errors import InvalidArgument

MOST_CONNECTIONS = 16
PATIENCE_S = 10.0
"""For a request and its answer; Prometheus itself gives up after as long."""
MOST_HEADER_BYTES = 16 * 1024
PIECE = 4096
METHODS = (b"GET", b"HEAD")
# A target may name the server too, as those for a proxy do.
ORIGIN = re.compile(rb"\Ahttps?://[^/]*", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    """An answer."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Pages = Callable[[str, str], Awaitable[Page | None]]
"""The page of a path, and in the form of an Accept header; None where there is none."""


@asynccontextmanager
async def listening(host: str, port: int, pages: Pages) -> AsyncIterator[int]:
    """The port, open. Raises InvalidArgument where it cannot be opened."""
    visitors = _Visitors(pages)
    try:
        server = await asyncio.start_server(visitors.serve, host.strip("[]"), port, limit=PIECE)
    except OSError as error:
        raise InvalidArgument(
            f"metrics_port: {host}:{port} cannot be opened: {error.strerror or error}; --metrics-port takes another, "
            "0 a free one"
        ) from None
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await visitors.end()


class _Visitors:
    """The open connections and their addresses, the oldest first."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._open: dict[asyncio.Task[None], str] = {}

    async def end(self) -> None:
        """Ends them all."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request."""
        task = asyncio.ensure_future(self._answered(reader, writer))
        self._open[task] = str((writer.get_extra_info("peername") or ("",))[0])
        task.add_done_callback(lambda ended: self._open.pop(ended, None))
        if len(self._open) > MOST_CONNECTIONS:
            ((crowding, _),) = Counter(self._open.values()).most_common(1)
            oldest = next(each for each, address in self._open.items() if address == crowding)
            # At once, or all that come in the same turn would push out this one.
            del self._open[oldest]
            oldest.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await task
        finally:
            writer.transport.abort()  # what is cancelled before it begins does not do so itself

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):  # it has gone, or is too slow
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        wire = h11.Connection(h11.SERVER, MOST_HEADER_BYTES)
        try:
            while not isinstance(event := wire.next_event(), h11.Request):
                if event is not h11.NEED_DATA:
                    return b""
                wire.receive_data(await reader.read(PIECE))
            page = await self._page(event)
        except h11.RemoteProtocolError as error:
            page = Page(b"this is no request of HTTP/1.1", status=HTTPStatus(error.error_status_hint))
        head = h11.Response(
            status_code=page.status,
            headers=[
                ("content-type", page.content_type),
                ("content-length", str(len(page.body))),
                ("connection", "close"),
            ],
        )
        is_asked_for_head = isinstance(event, h11.Request) and event.method == b"HEAD"
        events = (head, *(() if is_asked_for_head else (h11.Data(page.body),)), h11.EndOfMessage())
        return b"".join(wire.send(each) or b"" for each in events)

    async def _page(self, request: h11.Request) -> Page:
        if request.method not in METHODS:
            return Page(b"GET alone is answered here", status=HTTPStatus.METHOD_NOT_ALLOWED)
        path = ORIGIN.sub(b"", request.target.partition(b"?")[0]).decode("latin-1")
        accept = next((value for name, value in request.headers if name == b"accept"), b"")
        found = await self._pages(path, accept.decode("latin-1"))
        if found is None:
            return Page(b"here are /metrics, /healthz and /readyz", status=HTTPStatus.NOT_FOUND)
        return found
