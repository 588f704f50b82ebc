"""Fetches a picture by address: only over http and https, only from addresses that were judged, within limits.

The name is resolved once; the connection goes to the very address that was judged, at every redirect anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from featsvc.errors import FeatsvcError, invalid_field
from featsvc.server.addresses import Allowed, IPAddress

FIELD = "image.url"
REDIRECTS = (301, 302, 303, 307, 308)
T = TypeVar("T")
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True)
class FetchLimits:
    """How much a fetch may take."""

    enabled: bool
    timeout_s: float
    max_bytes: int
    max_redirects: int


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver.

    In a thread that nothing waits for: a name server that never answers must hold up neither the threads that encode
    replies nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def succeed(found: list[str]) -> None:
        if not answer.done():
            answer.set_result(found)

    def fail(error: OSError) -> None:
        if not answer.done():
            answer.set_exception(error)

    def ask() -> None:
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
            _tell(loop, succeed, found)
        except (OSError, UnicodeError) as error:
            _tell(loop, fail, OSError(str(error)))

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    return await answer


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[[T], None], value: T) -> None:
    # The loop may have ended before the name server answered.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act, value)


class JudgedBackend(AsyncNetworkBackend):
    """Connects only where every address of the host is permitted, and to one of the addresses that were judged."""

    def __init__(self, allowed: Allowed, resolver: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolver
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to a judged address; raises InvalidFields where one of them is not permitted."""
        addresses = await self.judged(host, port)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def judged(self, host: str, port: int) -> list[IPAddress]:
        """The addresses of a host, all permitted; raises InvalidFields otherwise."""
        try:
            found = await self._resolve(host, port)
            addresses = [ipaddress.ip_address(each.partition("%")[0]) for each in found]
        except (OSError, ValueError):
            raise invalid_field(FIELD, f"host {host!r} cannot be resolved") from None
        if not all(self._allowed.permits(host, address) for address in addresses):
            raise invalid_field(FIELD, f"host {host!r} is not public; the server's --url-allow can list it")
        return addresses


class PictureFetcher:
    """Fetches pictures; use with `async with`."""

    def __init__(self, limits: FetchLimits, allowed: Allowed, resolver: Resolve = resolve) -> None:
        self._limits = limits
        # One connection for one fetch: nothing is kept that was judged by an older answer of the resolver.
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=JudgedBackend(allowed, resolver), max_connections=64, max_keepalive_connections=0
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def picture(self, url: str) -> bytes:
        """The bytes at `url`. Raises InvalidFields about image.url when they are out of reach or over a limit."""
        if not self._limits.enabled:
            raise invalid_field(FIELD, "this server fetches no addresses; send the picture itself")
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._followed(url)
        except TimeoutError:
            raise invalid_field(FIELD, f"no picture within {self._limits.timeout_s:g} s") from None
        except FeatsvcError:
            raise
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError):
            raise invalid_field(FIELD, f"fetching from {_host(url)!r} failed") from None

    async def _followed(self, url: str) -> bytes:
        for _ in range(self._limits.max_redirects + 1):
            check_address(url)
            async with self._pool.stream(
                "GET", url, headers={"Accept": "image/*", "User-Agent": "featsvc"}
            ) as reply:
                if reply.status not in REDIRECTS:
                    return await self._body(reply)
                location = next((v for k, v in reply.headers if k.lower() == b"location"), b"")
                url = urljoin(url, location.decode("latin-1"))
        raise invalid_field(FIELD, f"more than {self._limits.max_redirects} redirects")

    async def _body(self, reply: httpcore.Response) -> bytes:
        if reply.status != 200:
            raise invalid_field(FIELD, f"the host answered with status {reply.status}")
        body = bytearray()
        async for chunk in reply.aiter_stream():
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise invalid_field(FIELD, f"more than {self._limits.max_bytes} bytes")
        return bytes(body)


def check_address(url: str) -> None:
    """Raises InvalidFields unless the address is http or https, with a host and without a password."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and (parts.port is None or parts.port > 0) and url.isascii()
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https"):
        raise invalid_field(FIELD, "must be an http or https address such as https://example.com/photo.jpg")
    if parts.username or parts.password:
        raise invalid_field(FIELD, "must not hold a user name or password")


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
