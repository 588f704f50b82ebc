"""How a question is asked until it is answered, as steps that either client takes in its own way.

Which rpc, whether a picture's file or its name, when to try again: all that is decided here, once. The clients only
send and wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message as ProtoMessage

from featsvc.codec.timing import HEADER as TIMING
from featsvc.codec.timing import WANTED, Timing
from featsvc_client import calls, channel
from featsvc_client.calls import Call
from featsvc_client.chunks import Pieces
from featsvc_client.errors import Failure, FieldViolation, invalid
from featsvc_client.operations import Rpc, Variant
from featsvc_client.results import Beside, Estimate
from featsvc_client.retry import RETRY, Attempts, RetryPolicy
from featsvc_client.sent import SentPictures
from featsvc_client.terms import USUAL, Terms

Result = TypeVar("Result")
# Any: the replies of the rpcs share no type that has their fields.
Reply: TypeAlias = Any

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

UNIMPLEMENTED = "UNIMPLEMENTED"
TIMED = (TIMING, WANTED)
"""Asks what the answer has taken."""


@dataclass(frozen=True)
class Ask:
    """Sends a request, and gives each message of the answer to `take`."""

    path: str
    request: bytes
    decode: Callable[[bytes], object]
    take: Callable[[Reply], object]
    note: Callable[[Metadata], object]
    """Is told what comes before the messages, or behind an only one."""
    streams: bool
    """Whether the answer has many messages."""
    metadata: tuple[tuple[str, str], ...]
    timeout_s: float | None


@dataclass(frozen=True)
class Pause:
    """Waits."""

    seconds: float


@dataclass(frozen=True)
class Done(Generic[Result]):
    """There is nothing left to do."""

    value: Result


class Noted:
    """What an answer has in its metadata."""

    timing: Timing | None = None

    def take(self, metadata: Metadata) -> None:
        """Reads it."""
        said = next((value for name, value in metadata if name == TIMING), "")
        self.timing = Timing.read(str(said))


Steps: TypeAlias = Generator[Ask | Pause, Failure | None, Result]


class Whole:
    """The answer to one question, in one message."""

    def __init__(self, message: type[ProtoMessage]) -> None:
        self.decode: Callable[[bytes], Reply] = message.FromString
        self._reply: Reply = None

    def take(self, reply: Reply) -> None:
        """Keeps it."""
        self._reply = reply

    def whole(self) -> tuple[Reply, None]:
        """The reply, which holds all there is."""
        return self._reply, None


Parts = ParamSpec("Parts")
Client = TypeVar("Client", bound="HasSession")


class HasSession(Protocol):
    """A client."""

    _session: Session


def dry(client: Client, method: Callable[Parts, object]) -> Callable[Parts, object]:
    """A method of the client that asks what its call would cost; raises InvalidRequest for what is none."""
    if not (isinstance(method, MethodType) and method.__self__ is client):
        raise invalid(FieldViolation("method", "give one of this client, such as client.clip_features"))
    other = copy(client)
    other._session = replace(client._session, is_dry=True)
    return partial(method.__func__, other)


def only_estimate(found: object) -> Estimate:
    """What a dry method has answered; raises InvalidRequest for one of many questions."""
    if not isinstance(found, Estimate):
        raise invalid(FieldViolation("method", "asks many questions: estimate one of them"))
    return found


@dataclass(frozen=True)
class Session:
    """What a client knows of its server and keeps from call to call; threads may share it."""

    metadata: tuple[tuple[str, str], ...]
    timeout_s: float | None = channel.TIMEOUT_S
    retry: RetryPolicy = RETRY
    pictures: SentPictures | None = field(default_factory=SentPictures)
    """None: every file is sent every time."""
    missing: set[str] = field(default_factory=set)
    """Paths that this server turned out not to have."""
    is_dry: bool = False
    """Calls are not asked: what they would cost is."""

    def attempts(
        self, timeout_s: float | None, *, patient: bool = False, steadfast: bool = False
    ) -> Attempts:
        """The attempts of one call with its own time, or with that of the client; steadfast ones only time limits."""
        retry = (
            replace(self.retry, attempts=sys.maxsize) if steadfast and self.retry.attempts > 1 else self.retry
        )
        return Attempts(retry, self.timeout_s if timeout_s is None else timeout_s, patient=patient)

    def asking(self, terms: Terms) -> tuple[tuple[str, str], ...]:
        """What a call of one question carries."""
        return (*self.metadata, *terms.metadata, TIMED)

    def known(self, call: Call[object]) -> str:
        """The digest to send instead of the file of a call; empty where the file must go."""
        return "" if self.pictures is None else self.pictures.name(call.picture)

    def confirm(self, call: Call[object], reply: Reply) -> None:
        """Takes note of the name that an answer gives to the picture."""
        if self.pictures is not None and call.picture is not None and not self.is_dry:
            self.pictures.confirm(call.picture, reply.image_digest)

    def lost(self, failure: Failure, digest: str) -> bool:
        """Whether a question failed because the server has given up the picture that it named, which is noted."""
        if not digest or not failure.picture_unknown:
            return False
        if self.pictures is not None:
            self.pictures.forget(digest)
        return True

    def answered(self, build: Callable[[], Call[Result]], terms: Terms = USUAL) -> Steps[Result]:
        """The steps to the answer of a call."""
        call = self._call(build)
        attempts = self.attempts(terms.timeout_s)
        digest = self.known(call)
        while True:
            variant = self._variant(call.operation)
            answer = Whole(call.operation.reply) if variant is None else Pieces(variant.reply)
            noted = Noted()
            failure = yield Ask(
                call.operation.path if variant is None else variant.path,
                call.serialised(digest, variant),
                answer.decode,
                answer.take,
                noted.take,
                variant is not None,
                self.asking(terms),
                attempts.time_left_s(),
            )
            if failure is None:
                reply, data = answer.whole()
                self.confirm(call, reply)
                result: Result = call.operation.read(reply, Beside(noted.timing, data))
                return result
            if self.lost(failure, digest):
                digest = ""
            elif variant is not None and failure.code == UNIMPLEMENTED:
                self.missing.add(variant.path)
            else:
                yield Pause(attempts.pause_s(failure))

    def _call(self, build: Callable[[], Call[Result]]) -> Call[Any]:  # Any: its result, or an estimate
        return calls.estimate(build()) if self.is_dry else build()

    def _variant(self, operation: Rpc[object]) -> Variant | None:
        """The rpc that answers in pieces, if there is one."""
        found = operation.chunked
        return None if found is None or found.path in self.missing else found


def advance(steps: Steps[Result], outcome: Failure | None = None) -> Ask | Pause | Done[Result]:
    """The next step, given how the last one went."""
    try:
        return steps.send(outcome)
    except StopIteration as end:
        value: Result = end.value
        return Done(value)
