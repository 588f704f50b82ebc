"""A caller that leaves stops the work that was begun for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request

from rest_shim.errors import HttpError

T = TypeVar("T")
UNWATCHED_S = 0.01


class Stoppable(Protocol):
    """A call, of whatever kind."""

    def cancel(self) -> bool:
        """Stops the work behind it."""


async def held_back(refusal: HttpError, closing: asyncio.Event, departure: Departure | None = None) -> None:
    """Waits for as long as the gateway would have the refusal held back, or until the event is set.

    With a `departure` raises ClientDisconnect as soon as the caller leaves. Before its body is read there is none: to
    watch is to receive what it sends.
    """
    if not refusal.hold_s:
        return
    if departure is not None:
        await departure.held(refusal.hold_s, closing)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), refusal.hold_s)


class Departure:
    """Watches one caller, and cancels its call when it leaves or when the watch ends."""

    def __init__(self, request: Request, call: Stoppable, on_end: Callable[[], None]) -> None:
        self._request, self._call, self._on_end = request, call, on_end
        self._leaving: asyncio.Future[None] | None = None
        # Most calls are over before that: a task for each would cost more than their watch is worth.
        self._later = asyncio.get_running_loop().call_later(UNWATCHED_S, self._watch)

    async def unless_gone(self, reply: Awaitable[T]) -> T:
        """What the call answers; raises ClientDisconnect when the caller leaves before it is there."""
        try:
            return await reply
        except asyncio.CancelledError:
            self.check()
            raise

    def check(self) -> None:
        """Raises ClientDisconnect where the caller has left."""
        if self._leaving is not None and self._leaving.done():
            raise ClientDisconnect

    async def held(self, seconds: float, closing: asyncio.Event) -> None:
        """Waits so long, or until the event is set; raises ClientDisconnect as soon as the caller leaves."""
        leaving, ending = self._watch(), asyncio.ensure_future(closing.wait())
        try:
            await asyncio.wait((leaving, ending), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
        self.check()

    def end(self) -> None:
        """Ends the watch, and the call if it still runs."""
        self._later.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        self._call.cancel()
        self._on_end()

    def _watch(self) -> asyncio.Future[None]:
        self._later.cancel()
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(_left(self._request))
            # A call that is done does not mind.
            self._leaving.add_done_callback(lambda _: self._call.cancel())
        return self._leaving


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
