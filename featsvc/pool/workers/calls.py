"""Questions to a worker that wait for its reply."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from featsvc.errors import TookTooLong, Unavailable
from featsvc.pool.contract.messages import Load, LoadReply, Unload


class OpenCalls:
    """The open calls to one worker."""

    def __init__(self, send: Callable[[Load | Unload], None]) -> None:
        self._send = send
        self._open: dict[int, asyncio.Future[bool]] = {}
        self._ids = itertools.count(1)

    @property
    def are_open(self) -> bool:
        """Whether anybody waits for a reply."""
        return bool(self._open)

    async def ask(self, kind: type[Load | Unload], model: str) -> bool:
        """Whether the worker had anything to do."""
        call = next(self._ids)
        reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._open[call] = reply
        try:
            self._send(kind(call, model))
            return await reply
        finally:
            del self._open[call]

    async def load(self, model: str, timeout_s: float) -> None:
        """Have the worker load a model. Raises TookTooLong where that does not end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.ask(Load, model)
        except TimeoutError:
            raise TookTooLong(
                f"loading {model} took longer than {timeout_s:g} s (--load-timeout) and was ended"
            ) from None

    def settle(self, reply: LoadReply) -> None:
        """Pass a reply to whoever still waits for it."""
        call = self._open.get(reply.call)
        if call is None or call.done():
            return
        if reply.error:
            call.set_exception(reply.error)
        else:
            call.set_result(reply.done)

    def break_off(self) -> None:
        """The worker died: no reply will come."""
        for call in self._open.values():
            if not call.done():
                call.set_exception(Unavailable("the worker died over this; try again"))
