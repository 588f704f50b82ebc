"""How the blocking client sends and waits; what and when is decided in session, window and mask_stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeAlias, TypeVar

import grpc

from featsvc_client import channel
from featsvc_client.errors import CallError, Failure
from featsvc_client.mask_results import Mask, MasksSummary
from featsvc_client.mask_stream import MaskStream
from featsvc_client.session import Ask, Done, Pause, Session, Steps, advance
from featsvc_client.window import AskedPrompts, Ended, Name, Window

Result = TypeVar("Result")
# Any: the replies of the rpcs share no type that has their fields.
Reply: TypeAlias = Any

# A server that has answered all ends its side at once.
PARTING_S = 1.0


def answered(connected: grpc.Channel, session: Session, steps: Steps[Result]) -> Result:
    """The answer that the steps lead to."""
    step = advance(steps)
    while not isinstance(step, Done):
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            step = advance(steps)
        else:
            step = advance(steps, _outcome(connected, session, step))
    return step.value


def masks(connected: grpc.Channel, stream: MaskStream) -> Generator[Mask | MasksSummary, None, None]:
    """Each mask as it comes, then the summary."""
    while not stream.is_complete:
        failure = None
        with closing(_messages(connected, stream.session, stream.ask())) as parts:
            try:
                for part in parts:
                    if part is not None:
                        yield part
            except grpc.RpcError as error:
                failure = channel.failure(error)
        time.sleep(stream.pause_s(failure))


def streamed(
    connected: grpc.Channel, window: Window[Result], images: Iterable[AskedPrompts]
) -> Generator[tuple[Name, Result | CallError], None, None]:
    """The answers about many pictures, in the order in which they come."""
    source, more = iter(images), True
    line = Line(connected, window)
    try:
        while more or not window.is_empty:
            if more and window.has_room:
                more = _begin(window, source)
            for message in window.due():
                line.send(message)
            # While there is something else to do, only look whether something has come.
            busy = window.is_empty or (more and window.has_room)
            event = line.event(0.0 if busy else window.wait_s())
            if isinstance(event, Ended):
                line.close()
                time.sleep(window.broken(event.failure))
                line = Line(connected, window)
            elif event is not None:
                window.take(event)
            yield from window.answers()
        line.part()
    finally:
        line.close()


class Line:
    """One open stream: a thread of its own receives, so that its answers can be waited for with a limit."""

    def __init__(self, connected: grpc.Channel, window: Window[Any]) -> None:
        variant = window.variant
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Reply | Ended] = queue.SimpleQueue()
        self._call = connected.stream_stream(variant.path, None, variant.reply.FromString)(
            iter(self._outbox.get, None), metadata=window.session.metadata
        )
        self._receiving = threading.Thread(target=self._receive, name="featsvc-stream", daemon=True)
        self._receiving.start()

    def send(self, message: bytes) -> None:
        """Sends it when the server has room for it."""
        self._outbox.put(message)

    def event(self, timeout_s: float | None) -> Reply | Ended | None:
        """What comes next; None if nothing comes within the time."""
        try:
            return self._inbox.get(timeout=timeout_s) if timeout_s != 0.0 else self._inbox.get_nowait()
        except queue.Empty:
            return None

    def part(self) -> None:
        """Tells the server that nothing more will be asked, and lets it end its side."""
        self._outbox.put(None)
        self._receiving.join(PARTING_S)

    def close(self) -> None:
        """Ends the stream, whatever is under way."""
        self._outbox.put(None)
        self._call.cancel()
        self._receiving.join()

    def _receive(self) -> None:
        failure = None
        try:
            for reply in self._call:
                self._inbox.put(reply)
        except grpc.RpcError as error:
            failure = channel.failure(error)
        self._inbox.put(Ended(failure))


def _begin(window: Window[Any], source: Iterator[AskedPrompts]) -> bool:
    """Takes the next picture, if there is one."""
    try:
        asked = next(source)
    except StopIteration:
        return False
    window.begin(asked)
    return True


def _outcome(connected: grpc.Channel, session: Session, ask: Ask) -> Failure | None:
    with closing(_messages(connected, session, ask)) as parts:
        try:
            for _ in parts:
                pass
        except grpc.RpcError as error:
            return channel.failure(error)
    return None


def _messages(connected: grpc.Channel, session: Session, ask: Ask) -> Generator[Reply, None, None]:
    """What `take` makes of each message; leaving it ends the call."""
    sending = {"timeout": ask.timeout_s, "metadata": session.metadata}
    if not ask.streams:
        yield ask.take(connected.unary_unary(ask.path, None, ask.decode)(ask.request, **sending))
        return
    call = connected.unary_stream(ask.path, None, ask.decode)(ask.request, **sending)
    try:
        for message in call:
            yield ask.take(message)
    finally:
        call.cancel()
