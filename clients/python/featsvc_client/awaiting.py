"""How the asyncio client sends and waits; what and when is decided in session, window and mask_stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar

import grpc

from featsvc_client import channel
from featsvc_client.errors import CallError, Failure
from featsvc_client.mask_results import Mask, MasksSummary
from featsvc_client.mask_stream import MaskStream
from featsvc_client.session import Ask, Done, Pause, Steps, advance
from featsvc_client.window import AskedPrompts, Ended, Made, Name, Window

Result = TypeVar("Result")
# Any: the replies of the rpcs share no type that has their fields.
Reply: TypeAlias = Any

# What grpc.aio says instead of the status where a stream ends while a request is on its way (grpc/grpc #36066).
STATUS_LOST = "Internal error from Core"
# A server that has answered all ends its side at once.
PARTING_S = 1.0


class _End(Enum):
    END = 0


END: Final = _End.END


async def answered(connected: grpc.aio.Channel, steps: Steps[Result]) -> Result:
    """The answer that the steps lead to."""
    # Encoding a picture and reading an answer take milliseconds, which other tasks should not wait for.
    step = await asyncio.to_thread(advance, steps)
    while not isinstance(step, Done):
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            step = await asyncio.to_thread(advance, steps)
        else:
            step = await asyncio.to_thread(advance, steps, await _outcome(connected, step))
    return step.value


async def masks(connected: grpc.aio.Channel, stream: MaskStream) -> AsyncGenerator[Mask | MasksSummary, None]:
    """Each mask as it comes, then the summary."""
    while not stream.is_complete:
        failure = None
        ask = await asyncio.to_thread(stream.ask)
        async with aclosing(_messages(connected, ask)) as parts:
            try:
                async for part in parts:
                    if part is not None:
                        yield part
            except grpc.RpcError as error:
                failure = channel.failure(error)
        await asyncio.sleep(stream.pause_s(failure))


async def streamed(
    connected: grpc.aio.Channel,
    window: Window[Result],
    images: Iterable[AskedPrompts] | AsyncIterable[AskedPrompts],
) -> AsyncGenerator[tuple[Name, Result | CallError], None]:
    """The answers about many pictures, in the order in which they come."""
    source, more = _source(images), True
    line: Line | None = None
    pulling: asyncio.Task[Made[Result] | _End] | None = None
    receiving: asyncio.Task[Reply | Ended] | None = None
    try:
        while more or not window.is_empty:
            if more and window.has_room and pulling is None:
                pulling = asyncio.create_task(_next(source, window))
            if messages := await asyncio.to_thread(window.due):
                line = line or Line(connected, window)
                for message in messages:
                    line.send(message)
            if line is not None and receiving is None:
                receiving = asyncio.create_task(line.event())
            tasks = {each for each in (pulling, receiving) if each is not None}
            await asyncio.wait(tasks, timeout=window.wait_s(), return_when=asyncio.FIRST_COMPLETED)
            if line is not None and receiving is not None and receiving.done():
                event, receiving = receiving.result(), None
                if isinstance(event, Ended):
                    await line.close()
                    line = None
                    await asyncio.sleep(window.broken(event.failure))
                else:
                    await asyncio.to_thread(window.take, event)
            if pulling is not None and pulling.done():
                made, pulling = pulling.result(), None
                if made is END:
                    more = False
                else:
                    window.begin(made)
            for answer in window.answers():
                yield answer
        if line is not None:
            await line.part()
    finally:
        await _cancelled(pulling, receiving)
        if line is not None:
            await line.close()


class Line:
    """One open stream: a task of its own receives, so that answers and new pictures can be waited for together."""

    def __init__(self, connected: grpc.aio.Channel, window: Window[Any]) -> None:
        variant = window.variant
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._inbox: asyncio.Queue[Reply | Ended] = asyncio.Queue()
        self._call = connected.stream_stream(variant.path, None, variant.reply.FromString)(
            self._requests(), metadata=window.metadata
        )
        self._receiving = asyncio.create_task(self._receive())

    def send(self, message: bytes) -> None:
        """Sends it when the server has room for it."""
        self._outbox.put_nowait(message)

    async def event(self) -> Reply | Ended:
        """What comes next."""
        return await self._inbox.get()

    async def part(self) -> None:
        """Tells the server that nothing more will be asked, and lets it end its side."""
        self._outbox.put_nowait(None)
        await asyncio.wait({self._receiving}, timeout=PARTING_S)

    async def close(self) -> None:
        """Ends the stream, whatever is under way."""
        self._outbox.put_nowait(None)
        self._call.cancel()
        await _cancelled(self._receiving)

    async def _requests(self) -> AsyncIterator[bytes]:
        while (message := await self._outbox.get()) is not None:
            yield message

    async def _receive(self) -> None:
        failure = None
        try:
            async for reply in self._call:
                self._inbox.put_nowait(reply)
        except grpc.RpcError as error:
            failure = channel.failure(error)
            if failure.message == STATUS_LOST:
                failure = None
        self._inbox.put_nowait(Ended(failure))


async def _source(
    images: Iterable[AskedPrompts] | AsyncIterable[AskedPrompts],
) -> AsyncIterator[AskedPrompts]:
    """The pictures; what is not asynchronous is asked in a thread, because it may read files."""
    if isinstance(images, AsyncIterable):
        async for each in images:
            yield each
        return
    iterator = iter(images)
    while (asked := await asyncio.to_thread(next, iterator, END)) is not END:
        yield asked


async def _next(source: AsyncIterator[AskedPrompts], window: Window[Result]) -> Made[Result] | _End:
    """The next question; its file is read in a thread."""
    asked = await anext(source, END)
    return END if asked is END else await asyncio.to_thread(window.made, asked)


async def _cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    """Ends tasks whose results nobody wants any more."""
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


async def _outcome(connected: grpc.aio.Channel, ask: Ask) -> Failure | None:
    async with aclosing(_messages(connected, ask)) as parts:
        try:
            async for _ in parts:
                pass
        except grpc.RpcError as error:
            return channel.failure(error)
    return None


async def _messages(connected: grpc.aio.Channel, ask: Ask) -> AsyncGenerator[Reply, None]:
    """What `take` makes of each message; leaving it ends the call."""
    sending = {"timeout": ask.timeout_s, "metadata": ask.metadata}
    if not ask.streams:
        answer = connected.unary_unary(ask.path, None, ask.decode)(ask.request, **sending)
        reply = await answer
        ask.note(await answer.trailing_metadata() or ())
        yield ask.take(reply)
        return
    call = connected.unary_stream(ask.path, None, ask.decode)(ask.request, **sending)
    try:
        is_first = True
        async for message in call:
            if is_first:
                ask.note(await call.initial_metadata() or ())
                is_first = False
            yield ask.take(message)
    finally:
        call.cancel()
