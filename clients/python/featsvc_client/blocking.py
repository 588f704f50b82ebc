"""How the blocking client sends and waits; what and when is decided in session, window and mask_stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

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

# A server that has answered all ends its side at once.
PARTING_S = 1.0


def answered(connected: grpc.Channel, steps: Steps[Result]) -> Result:
    """The answer that the steps lead to."""
    step = advance(steps)
    while not isinstance(step, Done):
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            step = advance(steps)
        else:
            step = advance(steps, _outcome(connected, step))
    return step.value


def masks(connected: grpc.Channel, stream: MaskStream) -> Generator[Mask | MasksSummary, None, None]:
    """Each mask as it comes, then the summary."""
    while not stream.is_complete:
        failure = None
        with closing(_messages(connected, stream.ask())) as parts:
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
    inbox: Inbox = queue.SimpleQueue()
    source = Source(images, window, inbox)
    line: Line | None = None
    try:
        while not (source.is_over and window.is_empty):
            if window.has_room:
                source.draw()
            if messages := window.due():
                line = line or Line(connected, window, inbox)
                for message in messages:
                    line.send(message)
            event = _next(inbox, window.wait_s())
            if event is not None and event.by is source:
                source.take(event.what)
            elif event is not None and line is not None and event.by is line:
                if isinstance(event.what, Ended):
                    line.close()
                    line = None
                    time.sleep(window.broken(event.what.failure))
                else:
                    window.take(event.what)
            yield from window.answers()
        if line is not None:
            line.part()
    finally:
        source.close()
        if line is not None:
            line.close()


@dataclass(frozen=True)
class Event:
    """What has come, and from whom: of a stream that is closed already nothing is of use."""

    by: Source | Line
    # Any: a reply or Ended from a stream, a question, _Over or an exception from the source.
    what: Any


Inbox: TypeAlias = "queue.SimpleQueue[Event]"


def _next(inbox: Inbox, timeout_s: float | None) -> Event | None:
    """What comes next; None if nothing comes within the time."""
    try:
        return inbox.get(timeout=timeout_s) if timeout_s != 0.0 else inbox.get_nowait()
    except queue.Empty:
        return None


class Source:
    """The caller's pictures, each read when there is room for it, in a thread: answers do not wait for it."""

    def __init__(self, images: Iterable[AskedPrompts], window: Window[Any], inbox: Inbox) -> None:
        self.is_over = False
        self._images = images
        self._window = window
        self._inbox = inbox
        self._is_drawing = False
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="featsvc-source", daemon=True)
        self._thread.start()

    def draw(self) -> None:
        """Wants one more, unless there is one to come already."""
        if not (self._is_drawing or self.is_over):
            self._is_drawing = True
            self._wanted.put(True)

    def take(self, drawn: Made[Any] | BaseException) -> None:
        """Takes what has been read; raises what the caller's own code has raised."""
        self._is_drawing = False
        if isinstance(drawn, StopIteration):
            self.is_over = True
        elif isinstance(drawn, BaseException):
            raise drawn
        else:
            self._window.begin(drawn)

    def close(self) -> None:
        """Ends the thread; one that waits for the caller's own code ends when that comes back."""
        self._wanted.put(False)
        if not self._is_drawing:
            self._thread.join()

    def _read(self) -> None:
        try:
            images = iter(self._images)
            while self._wanted.get():
                self._inbox.put(Event(self, self._window.made(next(images))))
        except BaseException as error:  # the caller's, to whom it goes
            self._inbox.put(Event(self, error))


class Line:
    """One open stream: a thread of its own receives, so that its answers can be waited for with a limit."""

    def __init__(self, connected: grpc.Channel, window: Window[Any], inbox: Inbox) -> None:
        variant = window.variant
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox = inbox
        self._call = connected.stream_stream(variant.path, None, variant.reply.FromString)(
            iter(self._outbox.get, None), metadata=window.metadata
        )
        self._receiving = threading.Thread(target=self._receive, name="featsvc-stream", daemon=True)
        self._receiving.start()

    def send(self, message: bytes) -> None:
        """Sends it when the server has room for it."""
        self._outbox.put(message)

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
                self._inbox.put(Event(self, reply))
        except grpc.RpcError as error:
            failure = channel.failure(error)
        self._inbox.put(Event(self, Ended(failure)))


def _outcome(connected: grpc.Channel, ask: Ask) -> Failure | None:
    with closing(_messages(connected, ask)) as parts:
        try:
            for _ in parts:
                pass
        except grpc.RpcError as error:
            return channel.failure(error)
    return None


def _messages(connected: grpc.Channel, ask: Ask) -> Generator[Reply, None, None]:
    """What `take` makes of each message; leaving it ends the call."""
    sending = {"timeout": ask.timeout_s, "metadata": ask.metadata}
    if not ask.streams:
        reply, answer = connected.unary_unary(ask.path, None, ask.decode).with_call(ask.request, **sending)
        ask.note(answer.trailing_metadata() or ())
        yield ask.take(reply)
        return
    call = connected.unary_stream(ask.path, None, ask.decode)(ask.request, **sending)
    try:
        is_first = True
        for message in call:
            if is_first:
                ask.note(call.initial_metadata() or ())
                is_first = False
            yield ask.take(message)
    finally:
        call.cancel()
