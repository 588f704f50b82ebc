"""Asks the cases of a server, through the same parts as FeatsvcClient."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from featsvc_client import blocking, channel, operations
from featsvc_client.calls import Call
from featsvc_client.conformance.arrays import arrays, model
from featsvc_client.conformance.cases import Case
from featsvc_client.errors import CallError, Failure, FeatsvcError
from featsvc_client.mask_results import Masks, MasksSummary
from featsvc_client.mask_stream import MaskStream
from featsvc_client.operations import Rpc
from featsvc_client.retry import RetryPolicy
from featsvc_client.session import Session
from featsvc_client.window import NO_PICTURE, Window

OPERATIONS: tuple[Rpc[Any], ...] = tuple(each for each in vars(operations).values() if isinstance(each, Rpc))
WINDOW = 2
# The server may be restarted meanwhile.
PATIENT = RetryPolicy(attempts=60, max_delay_s=1.0)
# A paced source gives up where an answer does not come in the time of its case.
NEVER_ASKED = Failure(
    "DEADLINE_EXCEEDED", "the answer before it did not come in time, so this was never asked"
)

# Any in this module: a case may be about every operation, whose results have no class in common.
Outcome = Any


@dataclass(frozen=True)
class Asker:
    """Asks a server, each case with its own key and time."""

    connected: grpc.Channel
    api_key: str | None

    def lines(self, case: Case) -> Iterator[dict[str, object]]:
        """What is to be printed about a case."""
        path = f"/{case.rpc}"
        operation = next(each for each in OPERATIONS if path in paths(each))
        for name, outcome in zip(case.lines, self._outcomes(case, operation, path), strict=True):
            yield described(name, outcome)

    def _outcomes(self, case: Case, operation: Rpc[Any], path: str) -> list[Outcome]:
        session = Session(channel.metadata(case.api_key or self.api_key), case.timeout_s, PATIENT)
        if path != getattr(operation.chunked, "path", None) and operation.chunked:
            session.missing.add(operation.chunked.path)
        made = [Call(operation, _Request(operation, each.request)) for each in case.questions]
        try:
            if path == getattr(operation.stream, "path", None):
                return self._streamed(session, operation, made, case.paced)
            if path == getattr(operation.one_by_one, "path", None):
                return [self._collected(MaskStream(session, made[0]))]
            return [blocking.answered(self.connected, session.answered(lambda: made[0]))]
        except CallError as error:
            return [error] * len(made)

    def _streamed(
        self, session: Session, operation: Rpc[Any], made: list[Call[Any]], paced: bool
    ) -> list[Outcome]:
        # Stands for the one call that a window builds to see whether the options are good.
        options = Call(operation, lambda _: operation.request())

        def build(asked: Any) -> Call[Any]:
            return options if asked is NO_PICTURE else asked

        window = Window(session, operation, build, WINDOW)
        seen = threading.Semaphore(0)

        def asked() -> Iterator[Any]:
            for number, call in enumerate(made):
                yield number, call
                if paced and not seen.acquire(timeout=session.timeout_s):
                    return

        found: dict[Any, Outcome] = {}
        for number, outcome in blocking.streamed(self.connected, window, asked()):
            found[number] = outcome
            seen.release()
        return [found[number] if number in found else NEVER_ASKED.error() for number in range(len(made))]

    def _collected(self, stream: MaskStream) -> Masks:
        with closing(blocking.masks(self.connected, stream)) as parts:
            *masks, summary = parts
        if not isinstance(summary, MasksSummary):
            raise FeatsvcError("the stream of masks ended without a summary")
        return Masks((each for each in masks if not isinstance(each, MasksSummary)), summary)


@dataclass(frozen=True)
class _Request:
    operation: Rpc[Any]
    json: Any

    def __call__(self, _: str) -> Any:
        """The message; raises ParseError where the case does not fit the contract."""
        return ParseDict(self.json, self.operation.request())


def paths(operation: Rpc[Any]) -> tuple[str, ...]:
    """Paths of an operation and of the rpcs that answer the same question in another way."""
    variants = (operation.chunked, operation.stream, operation.one_by_one)
    return (operation.path, *(each.path for each in variants if each))


def described(name: str, outcome: Outcome) -> dict[str, object]:
    """The line about an outcome."""
    if isinstance(outcome, CallError):
        failure = outcome.failure
        return {
            "name": name,
            "code": failure.code,
            "fields": [each.field for each in failure.violations],
            "retry_after": failure.retry_after_s is not None,
        }
    return {
        "name": name,
        "code": "OK",
        "model": model(outcome),
        "arrays": {key: each.described() for key, each in arrays(outcome).items()},
    }
