"""Many questions over one stream: which wait for their answers, which are sent again, which have failed.

Nothing here sends or waits: the two clients do, and tell it what came. They read the source of the questions beside the
stream, so that no answer waits for a source that takes its time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from featsvc.codec.timing import Timing
from featsvc.v1 import params
from featsvc_client import channel
from featsvc_client.calls import Call
from featsvc_client.errors import CallError, DeadlineExceeded, Failure, FieldViolation, Unavailable, invalid
from featsvc_client.operations import Rpc, Variant
from featsvc_client.pictures import ImageLike
from featsvc_client.results import Beside
from featsvc_client.retry import Attempts
from featsvc_client.session import Session
from featsvc_client.terms import USUAL, Terms

Result = TypeVar("Result")
Name: TypeAlias = str | int
Asked: TypeAlias = ImageLike | tuple[Name, ImageLike]
"""A picture, or a name for its answer and the picture; without a name it is its number, from 0."""
AskedPrompts: TypeAlias = Asked | tuple[Name, ImageLike, Sequence[params.Prompt]]
"""The same, or a name, a picture and prompts of its own."""
# Any: the replies of the streams share no type that has their fields.
Reply: TypeAlias = Any

IN_FLIGHT = 8
# Stands for a picture where only the options are looked at.
NO_PICTURE = b"no picture"
ENDED = Failure(Unavailable.code, "the server ended the stream before it had answered all")


@dataclass(frozen=True)
class Ended:
    """The stream is over; `failure` is None where the server ended it in peace."""

    failure: Failure | None


@dataclass(frozen=True)
class Made(Generic[Result]):
    """A question of the source, ready to be asked, or why it cannot be."""

    name: Name
    call: Call[Result] | CallError


@dataclass
class _Question(Generic[Result]):
    """A question without an answer so far."""

    name: Name
    call: Call[Result]
    digest: str
    attempts: Attempts
    due: float | None
    """When to send it (again); None while the server has it."""


class Window(Generic[Result]):
    """The questions of one stream that wait, at most `size` of them."""

    def __init__(
        self,
        session: Session,
        operation: Rpc[Result],
        build: Callable[..., Call[Result]],
        size: int,
        terms: Terms = USUAL,
    ) -> None:
        """Checks the options that all questions share; raises InvalidRequest."""
        if size < 1:
            raise invalid(FieldViolation("window", "at least one question must be under way"))
        if operation.stream is None:
            raise TypeError(f"{operation.path} takes one question at a time")
        build(NO_PICTURE)
        self.variant: Variant = operation.stream
        self.session = session
        self._operation = operation
        self._build = build
        self._size = size
        self._timeout_s = terms.timeout_s
        self.metadata = (*session.metadata, *terms.metadata)
        self._waiting: dict[str, _Question[Result]] = {}
        self._answers: list[tuple[Name, Result | CallError]] = []
        self._made = self._begun = 0
        self._breaks = Attempts(session.retry, None)

    @property
    def has_room(self) -> bool:
        """Whether another question may be asked now."""
        return len(self._waiting) < self._size

    @property
    def is_empty(self) -> bool:
        """Whether all questions are answered."""
        return not self._waiting

    def made(self, asked: AskedPrompts) -> Made[Result]:
        """The next question ready to be asked; it reads files, so another thread may call it beside all else here."""
        number, self._made = self._made, self._made + 1
        name, *parts = asked if isinstance(asked, tuple) else (number, asked)
        try:
            return Made(name, self._build(*parts))
        except OSError as error:
            what = os.strerror(error.errno) if error.errno else str(error)
            return Made(name, invalid(FieldViolation("image", f"cannot be read: {what}")))
        except CallError as error:
            return Made(name, error)

    def begin(self, made: Made[Result]) -> None:
        """Takes the next question; one that cannot be asked has its answer at once."""
        if isinstance(made.call, CallError):
            self._answers.append((made.name, made.call))
            return
        attempts = self.session.attempts(self._timeout_s, patient=True)
        known = self.session.known(made.call)
        self._waiting[str(self._begun)] = _Question(made.name, made.call, known, attempts, 0.0)
        self._begun += 1

    def due(self) -> list[bytes]:
        """The messages to send now."""
        now, messages = time.monotonic(), []
        for request_id, question in self._waiting.items():
            if question.due is not None and question.due <= now:
                question.due = None
                messages.append(
                    question.call.serialised(question.digest, self.variant, request_id=request_id)
                )
        return messages

    def wait_s(self) -> float | None:
        """Seconds until there is something to do even if nothing comes; None: never."""
        if self._answers:
            return 0.0
        now, waiting = time.monotonic(), self._waiting.values()
        times = [question.due - now for question in waiting if question.due is not None]
        left = (question.attempts.time_left_s() for question in waiting)
        times += [each for each in left if each is not None]
        return max(0.0, min(times)) if times else None

    def take(self, reply: Reply) -> None:
        """Takes what came; an answer to a question whose time was over is dropped."""
        question = self._waiting.get(reply.request_id)
        if question is None:
            return
        self._breaks = self.session.attempts(self._timeout_s, steadfast=True)
        try:
            if reply.WhichOneof("outcome") == "response":
                result = self._operation.read(reply.response, Beside(_timing(reply)))
                self.session.confirm(question.call, reply.response)
                self._answer(reply.request_id, result)
            else:
                self._failed(question, channel.item_failure(reply.error))
        except CallError as error:
            self._answer(reply.request_id, error)

    def broken(self, failure: Failure | None) -> float:
        """Seconds to wait before a new stream, over which all that wait go again; raises where it is of no use.

        A server that has answered before may be restarting: it gets as much time to come back as a question has. While
        nothing waits, a stream may end as it likes: the next question opens another.
        """
        if self.is_empty:
            return 0.0
        now = time.monotonic()
        for question in self._waiting.values():
            question.due = now if question.due is None else question.due
        return self._breaks.pause_s(failure or ENDED)

    def answers(self) -> Iterator[tuple[Name, Result | CallError]]:
        """What has been answered since it was last asked, each once."""
        for request_id, question in list(self._waiting.items()):
            if question.attempts.time_left_s() == 0.0:
                late = Failure(DeadlineExceeded.code, "no answer within the time for one question")
                self._answer(request_id, late.error())
        done, self._answers = self._answers, []
        yield from done

    def _answer(self, request_id: str, answer: Result | CallError) -> None:
        self._answers.append((self._waiting.pop(request_id).name, answer))

    def _failed(self, question: _Question[Result], failure: Failure) -> None:
        """Plans to send it again; raises where another try will not help."""
        now = time.monotonic()
        if self.session.lost(failure, question.digest):
            question.digest, question.due = "", now
        else:
            question.due = now + question.attempts.pause_s(failure)


def _timing(reply: Reply) -> Timing | None:
    """What an answer says that it has taken."""
    if not reply.HasField("timing"):
        return None
    return Timing(*(getattr(reply.timing, name) for name in Timing.__slots__))
