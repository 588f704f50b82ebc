"""Reading a request: its key, and its body within limits."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from rest_shim.errors import HttpError, unauthenticated

BEARER = re.compile(r"bearer +[\x21-\x7e]+", re.IGNORECASE)
HOW = "send the header 'Authorization: Bearer KEY'"


def authorization(request: Request, refused_key: str | None) -> str:
    """The header that carries the key; raises HttpError where there is none, or a refused one."""
    given = request.headers.get("authorization", "").strip()
    if not BEARER.fullmatch(given):
        raise unauthenticated(f"API key missing: {HOW}")
    key = given.partition(" ")[2].strip()
    if refused_key is not None and hmac.compare_digest(_digest(key), _digest(refused_key)):
        raise unauthenticated(
            "the default API key works on loopback only; start the server with a key of your own"
        )
    return f"Bearer {key}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class BodyLimits:
    """How large one body may be, and all that are held at once."""

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._held_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The body, counted against the limits while it is held; raises HttpError over them."""
        _check_type(request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            self._check(int(declared))
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._held_bytes += len(chunk)
                body += chunk
                self._check(len(body))
            yield body
        finally:
            self._held_bytes -= len(body)

    def _check(self, nbytes: int) -> None:
        if nbytes > self._max_bytes:
            raise HttpError(413, f"the body is larger than {self._max_bytes} bytes")
        if self._held_bytes > self._max_total_bytes:
            raise HttpError(429, "too many large requests at once; try again", {"Retry-After": "1"})


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpError(415, "the body must be JSON: send the header 'Content-Type: application/json'")
