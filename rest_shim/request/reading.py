"""Reading a request: its key, and its body within limits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request

from featsvc.codec import priority as priorities
from featsvc.codec import shim_headers
from rest_shim.call.gateway import Metadata
from rest_shim.call.off_loop import OFF_LOOP_BYTES
from rest_shim.errors import HttpError, too_large, unauthenticated
from rest_shim.exchange import CERTIFICATE

P = ParamSpec("P")
R = TypeVar("R")
BEARER = re.compile(r"bearer +[\x21-\x7e]+", re.IGNORECASE)
TIMEOUT_HEADER, PRIORITY_HEADER = "X-Request-Timeout", "X-Request-Priority"
SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII)
# A year: the gateway has a limit of its own, and gRPC cannot write down much more.
LONGEST_S = 365 * 24 * 3600
HOW = "send the header 'Authorization: Bearer KEY'"
# Each takes up to four times its size while it is converted.
LARGE_AT_ONCE = 2
# Beside its timeout each body has the time that it would take at this pace: 128 kbit a second.
SLOWEST_BYTES_PER_S = 16 * 1024
# A body that for so long came at less than this pace, 2 Mbit a second, gives way where there is no room for another.
SLOW_S = 2.0
SLOW_BYTES_PER_S = 256 * 1024
# Content codings, as zlib's windowBits.
PACKINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
UNPACKED_AT_ONCE = 256 * 1024


def credentials(
    request: Request, refused_key: str | None, *, certificates_stand: bool = True
) -> tuple[str, str]:
    """What the caller shows, as the metadata of gRPC has it: its key, or without one the names in its certificate.

    Names count where certificates may stand for keys. Raises HttpError where there is neither, or a refused key.
    """
    given = request.headers.get("authorization", "").strip()
    names = request.scope.get("extensions", {}).get(CERTIFICATE, {}).get("names")
    if certificates_stand and names and given.lower() in ("", "bearer"):
        return shim_headers.CERTIFICATE, ",".join(quote(name, safe="") for name in names)
    if not BEARER.fullmatch(given):
        raise unauthenticated(f"API key missing: {HOW}")
    key = given.partition(" ")[2].strip()
    if refused_key is not None and hmac.compare_digest(_digest(key), _digest(refused_key)):
        raise unauthenticated(
            "the default API key works on loopback only; start the server with a key of your own"
        )
    return "authorization", f"Bearer {key}"


def timeout_s(request: Request) -> float | None:
    """How long the caller will wait, where it says so; raises HttpError where that is no time."""
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    shown = given.strip()[:32]
    if not SECONDS.fullmatch(given.strip()) or not float(given):
        message = f"{shown!r} is no number of seconds above 0, such as 120 or 0.5"
    elif float(given) > LONGEST_S:
        message = f"{shown} seconds, at most {LONGEST_S} (a year)"
    else:
        message = ""
    if message:
        raise HttpError(422, [{"loc": ["header", TIMEOUT_HEADER], "msg": message, "type": "invalid_timeout"}])
    return float(given)


def priority(request: Request) -> Metadata:
    """How urgent the request is, as the metadata of gRPC has it; raises HttpError where that is no priority."""
    given = request.headers.get(PRIORITY_HEADER)
    if given is None:
        return ()
    if priorities.read(given.strip()) is None:
        message = f"{given.strip()[:20]!r} is not {priorities.MEANING}"
        raise HttpError(
            422, [{"loc": ["header", PRIORITY_HEADER], "msg": message, "type": "invalid_priority"}]
        )
    return ((priorities.HEADER, given.strip()),)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@dataclass(eq=False)
class Arrival:
    """One body on its way."""

    whose: str
    began: float
    patience: asyncio.Timeout
    nbytes: int = 0
    refusal: HttpError | None = None
    """What it is told where it gave way to others."""
    _looked_at: float = 0.0
    """When its pace was last looked at: at the beginning, and then every SLOW_S."""
    _had_bytes: int = 0
    _came_slowly: bool = False

    def __post_init__(self) -> None:
        self._looked_at = self.began

    @property
    def gave_way(self) -> bool:
        """Whether others have its room."""
        return self.refusal is not None

    def grow(self, nbytes: int, now: float) -> None:
        """It has so many bytes now."""
        self.nbytes = nbytes
        if now - self._looked_at > SLOW_S:
            self._came_slowly = self.is_slow(now)
            self._looked_at, self._had_bytes = now, nbytes

    def is_slow(self, now: float) -> bool:
        """Whether it came slowly of late. Not its age counts: of many that come at once each takes long."""
        seconds = now - self._looked_at
        if seconds <= SLOW_S:
            return self._came_slowly
        return self.nbytes - self._had_bytes < seconds * SLOW_BYTES_PER_S


class BodyLimits:
    """How large one body may be, how long it may take, and how much all that are held may have together."""

    def __init__(self, max_bytes: int, max_total_bytes: int, timeout_s: float = 30.0) -> None:
        self.max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_s = timeout_s
        self._held_bytes: Counter[str] = Counter()
        self._arrivals: list[Arrival] = []
        self._large_at_once = asyncio.Semaphore(LARGE_AT_ONCE)
        self._unpacking = asyncio.Lock()
        self.count = 0
        """Bodies that have been read, or part of them."""

    @asynccontextmanager
    async def body(self, request: Request, whose: str) -> AsyncIterator[bytearray]:
        """The body, counted against the limits while it is held, and as somebody's; raises HttpError over them."""
        _check_type(request)
        packing = _packing(request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            self._check_length(int(declared))
        body = bytearray()
        try:
            await self._arrived(request, body, whose)
            if packing is not None:
                async with self._unpacking:
                    await _unless_left(request)
                    content = await asyncio.to_thread(_unpacked, body, packing, self.max_bytes)
                self._held_bytes[whose] += len(content) - len(body)
                body = content
                self._make_room(whose)
            yield body
        finally:
            self.count += 1
            self._held_bytes[whose] -= len(body)
            if not self._held_bytes[whose]:
                del self._held_bytes[whose]

    async def converted(
        self, request: Request, nbytes: int, work: Callable[P, R], *arguments: P.args, **keywords: P.kwargs
    ) -> R:
        """What the work makes of a body: large ones in threads, and few at once, each takes several times its size."""
        if nbytes < OFF_LOOP_BYTES:
            return work(*arguments, **keywords)
        async with self._large_at_once:
            await _unless_left(request)
            return await asyncio.to_thread(work, *arguments, **keywords)

    async def _arrived(self, request: Request, body: bytearray, whose: str) -> None:
        """Reads all of it into `body`, as long as it comes at some pace."""
        clock = asyncio.get_running_loop().time
        arrival = Arrival(whose, clock(), asyncio.timeout(self._timeout_s))
        self._arrivals.append(arrival)
        try:
            async with arrival.patience:
                async for chunk in request.stream():
                    self._held_bytes[whose] += len(chunk)
                    body += chunk
                    arrival.grow(len(body), clock())
                    self._check_length(len(body))
                    self._make_room(whose, arrival)
                    if not arrival.gave_way:
                        arrival.patience.reschedule(
                            arrival.began + self._timeout_s + len(body) / SLOWEST_BYTES_PER_S
                        )
        except TimeoutError:
            if arrival.refusal is not None:
                raise arrival.refusal from None
            raise HttpError(
                408, f"the body did not come within {self._timeout_s:g} s, or too slowly (--body-timeout)"
            ) from None
        finally:
            self._arrivals.remove(arrival)

    def _check_length(self, nbytes: int) -> None:
        if nbytes > self.max_bytes:
            raise too_large("request", f"the body is larger than {self.max_bytes} bytes")

    def _make_room(self, whose: str, newcomer: Arrival | None = None) -> None:
        """Over the limit others' bodies that are still arriving give way, where that makes the room.

        First the oldest of those that come slowly, then the newest of keys that hold more than this one, and of this
        key those that began after this one: or of many at once none would arrive in full.
        """
        if self._held_bytes.total() <= self._max_total_bytes:
            return
        gone = Counter[str]()
        for each in self._arrivals:
            if each.gave_way:
                gone[each.whose] += each.nbytes
        left = self._held_bytes - gone
        missing = left.total() - self._max_total_bytes
        if missing <= 0:
            return
        now = asyncio.get_running_loop().time()
        others = [
            each
            for each in self._arrivals
            if each is not newcomer and not (each.gave_way or each.patience.expired())
        ]
        slow, quick = list[Arrival](), list[Arrival]()
        for each in others:
            (slow if each.is_slow(now) else quick).append(each)
        leaving: list[Arrival] = []
        for place, each in enumerate((*slow, *reversed(quick))):
            if missing <= 0:
                break
            is_later = newcomer is not None and each.whose == whose and each.began > newcomer.began
            if place < len(slow) or left[each.whose] > left[whose] or is_later:
                leaving.append(each)
                left[each.whose] -= each.nbytes
                missing -= each.nbytes
        if missing > 0:
            raise self._refusal(whose)
        for each in leaving:
            each.refusal = self._refusal(each.whose)
            each.patience.reschedule(now)

    def _refusal(self, whose: str) -> HttpError:
        """What is told for whose body there is no room."""
        nbytes, own = self._held_bytes.total(), self._held_bytes[whose]
        words = f"the bodies of requests here have {nbytes} bytes, {own} of them of this key"
        most = f"at most {self._max_total_bytes} (--max-total-body-bytes)"
        return HttpError(429, f"{words}, {most}: try again in 1 s", {"Retry-After": "1"})


async def _unless_left(request: Request) -> None:
    """Raises ClientDisconnect where the caller has not waited until its turn came."""
    if await request.is_disconnected():
        raise ClientDisconnect


def _packing(request: Request) -> int | None:
    """How zlib is told to unpack the body; None where it is not packed."""
    given = request.headers.get("content-encoding", "identity").strip().lower()
    if given in ("", "identity"):
        return None
    if given not in PACKINGS:
        raise HttpError(
            415,
            f"Content-Encoding {given[:64]!r} is not read: send the body as it is, or as gzip or deflate",
            {"Accept-Encoding": "gzip, deflate"},
        )
    return PACKINGS[given]


def _unpacked(packed: bytearray, packing: int, max_bytes: int) -> bytearray:
    unpacking, content = zlib.decompressobj(packing), bytearray()
    try:
        for start in range(0, len(packed), UNPACKED_AT_ONCE):
            step: bytes | memoryview = memoryview(packed)[start : start + UNPACKED_AT_ONCE]
            while step:
                # In small steps: between them other threads have their turn.
                content += unpacking.decompress(step, UNPACKED_AT_ONCE)
                if len(content) > max_bytes:
                    raise too_large("request", f"the body unpacks to more than {max_bytes} bytes")
                step = unpacking.unconsumed_tail
    except zlib.error:
        raise HttpError(400, "the body is not what its Content-Encoding says") from None
    if not unpacking.eof or unpacking.unused_data:
        raise HttpError(400, "the body ends before its packed content does, or after it")
    return content


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpError(415, "the body must be JSON: send the header 'Content-Type: application/json'")
