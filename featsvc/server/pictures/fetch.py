"""Fetches a picture by address: only over http and https, only from addresses that were judged, within limits.

The name is resolved once; the connection goes to the very address that was judged, at every redirect anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from featsvc.errors import FeatsvcError, Overloaded, invalid_field
from featsvc.server.pictures.addresses import Allowed, IPAddress
from featsvc.server.pictures.web_addresses import encoded
from featsvc.settings.access import KeyLimits
from featsvc.work.caller import NOBODY, Caller

FIELD = "image.url"
NO_ADDRESS = "must be an http or https address such as https://example.com/photo.jpg"
REDIRECTS = (301, 302, 303, 307, 308)
T = TypeVar("T")
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True)
class FetchLimits:
    """How much a fetch may take, and how much all of them; each caller has limits of its own."""

    enabled: bool
    timeout_s: float
    max_bytes: int
    max_redirects: int
    max_fetches: int = 128
    max_total_bytes: int = 256 * 1024 * 1024


@dataclass
class _CallerPlaces:
    """The places of one caller, and how many fetches have one or wait for one."""

    places: asyncio.Semaphore
    fetches: int = 0


class Shares:
    """What the fetches of each caller take of what all have: places, and bytes until the picture is whole."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.max_fetches)
        # By name and limit: a limit that has changed holds for the fetches that come from then on.
        self._caller_places: dict[tuple[str, int], _CallerPlaces] = {}
        self._caller_bytes: Counter[str] = Counter()
        self.nbytes = 0

    @asynccontextmanager
    async def share(self, caller: Caller) -> AsyncIterator[Callable[[int], None]]:
        """A place for one fetch, waited for as long as the fetch may take; gives what counts its bytes.

        Raises Overloaded where there is no place in time, and at a count that is too much.
        """
        taken, name, limits = 0, caller.name, caller.limits

        def count(nbytes: int) -> None:
            nonlocal taken
            own, most = self._caller_bytes[name], limits.url_max_bytes_per_key
            if own + nbytes > most:
                raise Overloaded.within(
                    f"pictures that are being fetched for this key have {own + nbytes} bytes, at most {most} "
                    "(url_max_bytes_per_key)"
                )
            most = self._limits.max_total_bytes
            if self.nbytes + nbytes > most:
                raise Overloaded.within(
                    f"pictures that are being fetched have {self.nbytes + nbytes} bytes, at most {most} "
                    f"(--url-max-bytes), {own + nbytes} of them for this key"
                )
            taken += nbytes
            self._caller_bytes[name] += nbytes
            self.nbytes += nbytes

        async with AsyncExitStack() as places:
            own, has_own_place = places.enter_context(self._own_places(caller)), False
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    await places.enter_async_context(own.places)
                    has_own_place = True
                    await places.enter_async_context(self._places)
            except TimeoutError:
                raise self._no_place(own, None if has_own_place else limits) from None
            try:
                yield count
            finally:
                self._caller_bytes[name] -= taken
                self.nbytes -= taken
                if not self._caller_bytes[name]:
                    del self._caller_bytes[name]

    def _no_place(self, own: _CallerPlaces, own_limits: KeyLimits | None) -> Overloaded:
        """What is told who has waited too long: for a place of its own by these limits, else for one of all."""
        waited = f"and this one had no turn within {self._limits.timeout_s:g} s (--url-timeout)"
        if own_limits is not None:
            most = f"at most {own_limits.url_max_fetches_per_key} at once (url_max_fetches_per_key)"
            return Overloaded.within(f"pictures to fetch for this key: {own.fetches}, {most}, {waited}")
        count = sum(each.fetches for each in self._caller_places.values())
        most = f"at most {self._limits.max_fetches} at once (--url-max-fetches)"
        return Overloaded.within(
            f"pictures to fetch: {count}, {most}, {own.fetches} of them for this key, {waited}"
        )

    @contextmanager
    def _own_places(self, caller: Caller) -> Iterator[_CallerPlaces]:
        """The places of a caller; nothing is kept of one that fetches nothing."""
        most = caller.limits.url_max_fetches_per_key
        own = self._caller_places.setdefault((caller.name, most), _CallerPlaces(asyncio.Semaphore(most)))
        own.fetches += 1
        try:
            yield own
        finally:
            own.fetches -= 1
            if not own.fetches:
                del self._caller_places[caller.name, most]


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver.

    In a thread that nothing waits for: a name server that never answers must hold up neither the threads that encode
    replies nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def succeed(addresses: list[str]) -> None:
        if not answer.done():
            answer.set_result(addresses)

    def fail(error: OSError) -> None:
        if not answer.done():
            answer.set_exception(error)

    def ask() -> None:
        try:
            addresses = [
                str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            ]
            _tell(loop, succeed, addresses)
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
            network_backend=JudgedBackend(allowed, resolver),
            max_connections=limits.max_fetches,
            max_keepalive_connections=0,
        )
        self._shares = Shares(limits)

    @property
    def nbytes(self) -> int:
        """Bytes of pictures that are not whole yet."""
        return self._shares.nbytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def picture(self, url: str, caller: Caller = NOBODY) -> bytes:
        """The bytes at `url`. Raises InvalidFields about image.url when they are out of reach or over a limit.

        Raises Overloaded where this caller, or all, have too many under way.
        """
        if not self._limits.enabled:
            raise invalid_field(FIELD, "this server fetches no addresses; send the picture itself")
        try:
            async with self._shares.share(caller) as count, asyncio.timeout(self._limits.timeout_s):
                return await self._followed(url, count)
        except TimeoutError:
            raise invalid_field(FIELD, f"no picture within {self._limits.timeout_s:g} s") from None
        except FeatsvcError:
            raise
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError):
            raise invalid_field(FIELD, f"fetching from {_host(url)!r} failed") from None

    async def _followed(self, url: str, count: Callable[[int], None]) -> bytes:
        for _ in range(self._limits.max_redirects + 1):
            url = _on_the_wire(url)
            check_address(url)
            async with self._pool.stream(
                "GET", url, headers={"Accept": "image/*", "User-Agent": "featsvc"}
            ) as reply:
                if reply.status not in REDIRECTS:
                    return await self._body(reply, count)
                location = next((v for k, v in reply.headers if k.lower() == b"location"), b"")
                url = _joined(url, location.decode("utf-8", "surrogateescape"))
        raise invalid_field(FIELD, f"more than {self._limits.max_redirects} redirects")

    async def _body(self, reply: httpcore.Response, count: Callable[[int], None]) -> bytes:
        if reply.status != 200:
            raise invalid_field(FIELD, f"the host answered with status {reply.status}")
        body = bytearray()
        async for chunk in reply.aiter_stream():
            count(len(chunk))
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
        raise invalid_field(FIELD, NO_ADDRESS)
    if parts.username or parts.password:
        raise invalid_field(FIELD, "must not hold a user name or password")


def _on_the_wire(url: str) -> str:
    try:
        return encoded(url)
    except ValueError:
        raise invalid_field(FIELD, NO_ADDRESS) from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise invalid_field(FIELD, "the host redirects to what is no address") from None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
