"""One request on a connection and its answer, and the bytes of requests and answers that no application makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from urllib.parse import unquote

import httptools
import orjson
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from rest_shim.errors import NO_MEMORY

Headers = Sequence[tuple[bytes, bytes]]
HEAD_END = b"\r\n\r\n"
CERTIFICATE = "featsvc.certificate"
"""Where a request's scope has the names in its caller's certificate, among the extensions."""
ASKED = "featsvc.asked"
"""Set in a request's scope when a model is asked: what is refused from then on is the gateway's affair."""
OFFERS = frozenset((b"upgrade", b"http2-settings"))


class Place(Enum):
    """Where in the stream of requests the next byte stands."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


class Refusal(Exception):
    """A request that is not read on; raised in callbacks of the parser, which hides it."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def unreadable(error: httptools.HttpParserError) -> Refusal:
    """What the parser stopped at; errors of our own callbacks stand behind its own."""
    if isinstance(error.__context__, MemoryError):
        return Refusal(503, NO_MEMORY)
    return Refusal(400, "this is not HTTP/1.1, or not well-formed")


def head_end(before: bytes, content: bytes, at: int) -> int:
    """Where the head that goes on at `at` ends, if it does in this content; its end may begin in the bytes before."""
    found = (before + content[at : at + len(HEAD_END) - 1]).find(HEAD_END)
    if found >= 0:
        return at + found + len(HEAD_END) - len(before)
    found = content.find(HEAD_END, at)
    return len(content) if found < 0 else found + len(HEAD_END)


def too_large(place: Place, most_bytes: int) -> Refusal:
    """Of what is read at this place, and should be short."""
    if place is Place.BODY:
        return Refusal(400, f"more than {most_bytes} bytes of trailers or chunk extensions")
    return Refusal(431, f"the headers are larger than {most_bytes} bytes (--max-header-bytes)")


class Flow(FlowControl):
    """Reads nothing while bytes that came already wait for their turn."""

    holding = False

    def resume_reading(self) -> None:
        if not self.holding:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    lingers = False
    """Whether the connection closes after this answer, though its caller may still be sending."""
    is_last = False
    """Whether what its caller has sent behind it cannot be read."""

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            if self.waiting_for_100_continue:
                # Nobody can tell whether the body comes now or the next request.
                self.keep_alive = False
        elif not self.keep_alive and (self.more_body or self.is_last) and not message.get("more_body", False):
            self.lingers = self.keep_alive = True
        await super().send(message)


def without_offer(target: bytes, version: str, headers: Headers) -> bytes:
    """The same head, written anew without its offer to speak another protocol."""
    lines = (name + b": " + value for name, value in headers if name not in OFFERS)
    return b"\r\n".join((target + b" HTTP/" + version.encode(), *lines)) + HEAD_END


def located(target: bytes, root: str) -> Mapping[str, str | bytes]:
    """What a scope says of the target; a prefix that the proxy before us has left on it is not put there twice."""
    url = httptools.parse_url(target)
    raw: bytes = url.path
    path = raw.decode("ascii")
    if "%" in path:
        path = unquote(path)
    if root and not path.startswith(f"{root}/"):
        path, raw = root + path, root.encode("ascii") + raw
    return {"path": path, "raw_path": raw, "query_string": url.query or b""}


def answer(status: int, detail: str, headers: Headers) -> bytes:
    """An answer that says why there is none, and that the connection ends."""
    body = orjson.dumps({"detail": detail})
    own = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    )
    later = ((b"retry-after", b"1"),) if status == 503 else ()
    lines = (name + b": " + value + b"\r\n" for name, value in (*headers, *own, *later))
    return b"".join((STATUS_LINE[status], *lines, b"\r\n", body))
