"""A gRPC server that answers as a script says, and remembers what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from featsvc_client import operations
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

OPERATIONS = {each.path: each for each in vars(operations).values() if isinstance(each, operations.Rpc)}
WRAPPED = {
    variant.path: (kind, variant)
    for each in OPERATIONS.values()
    for kind in ("chunked", "stream", "one_by_one")
    if (variant := getattr(each, kind))
}


@dataclass(frozen=True)
class Refusal:
    """A status with its trailing metadata."""

    code: grpc.StatusCode
    message: str = "no"
    trailing: tuple[tuple[str, str | bytes], ...] = ()


# A stream of messages ends as its last says; a function makes the answer from the question.
Answer = Message | Refusal | list["Message | Refusal"] | Callable[[Any], "Message | Refusal"]


@dataclass
class Script:
    """What to answer, in order, and what was asked. A call beyond the script gets the last answer again."""

    answers: deque[Answer]
    requests: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    time_left_s: list[float] = field(default_factory=list)
    lacked: list[str] = field(default_factory=list)
    cancelled: list[bool] = field(default_factory=list)
    hangs_up: Refusal | None = None
    """How a stream ends after its first answer, where it is to."""
    target: str = ""

    def next(self) -> Answer:
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]

    def asked(self, request: Any, path: str, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.paths.append(path.rpartition("/")[2])
        self.metadata.append(dict(context.invocation_metadata()))
        self.time_left_s.append(context.time_remaining())


class _Generic(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    def __init__(self, script: Script, lacking: tuple[str, ...]) -> None:
        self._script = script
        self._lacking = lacking

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        path = details.method
        if path.endswith(self._lacking):
            self._script.lacked.append(path.rpartition("/")[2])
            return None
        if path in OPERATIONS:
            operation = OPERATIONS[path]
            return grpc.unary_unary_rpc_method_handler(
                self._whole(path), operation.request.FromString, operation.reply.SerializeToString
            )
        kind, variant = WRAPPED[path]
        codecs = variant.request.FromString, variant.reply.SerializeToString
        if kind == "stream":
            return grpc.stream_stream_rpc_method_handler(self._stream(path), *codecs)
        return grpc.unary_stream_rpc_method_handler(self._parts(path, variant.reply), *codecs)

    def _whole(self, path: str) -> Callable[[Message, grpc.ServicerContext], Message]:
        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            self._script.asked(request, path, context)
            return _message(self._script.next(), request, context)

        return answer

    def _parts(self, path: str, part: type[Message]) -> Callable[..., Iterator[Message]]:
        """A whole reply goes as the first and only part."""

        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            self._script.asked(request.request, path, context)
            reply = self._script.next()
            for each in reply if isinstance(reply, list) else [reply]:
                message = _message(each, request.request, context)
                yield message if isinstance(message, part) else part(reply=message)

        return answer

    def _stream(self, path: str) -> Callable[..., Iterator[Message]]:
        """The script gives an answer for each question: a reply, an ItemError, a Refusal that breaks the stream."""

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
            context.add_callback(lambda: self._script.cancelled.append(True))
            for each in requests:
                self._script.asked(each, path, context)
                reply = _message(self._script.next(), each.request, context)
                outcome = "error" if reply.DESCRIPTOR.name == "ItemError" else "response"
                yield WRAPPED[path][1].reply(request_id=each.request_id, **{outcome: reply})
                if self._script.hangs_up is not None:
                    context.abort(self._script.hangs_up.code, self._script.hangs_up.message)

        return answer


def _message(answer: Answer, request: Message, context: grpc.ServicerContext) -> Message:
    if callable(answer):
        answer = answer(request)
    if isinstance(answer, Refusal):
        context.set_trailing_metadata(answer.trailing)
        context.abort(answer.code, answer.message)
    assert isinstance(answer, Message)
    return answer


@contextmanager
def answering(*answers: Answer, lacking: tuple[str, ...] = (), port: int = 0) -> Iterator[Script]:
    """A server on a (free) port of loopback that answers these in turn; it lacks methods of these names."""
    script = Script(deque(answers))
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(
            threads, (_Generic(script, lacking),), options=(("grpc.max_receive_message_length", -1),)
        )
        script.target = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        server.start()
        try:
            yield script
        finally:
            server.stop(None).wait()


def field_details(*violations: tuple[str, str]) -> bytes:
    """The google.rpc.Status of a bad request, as it travels."""
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=name, description=message)
            for name, message in violations
        ]
    )
    packed = AnyMessage()
    packed.Pack(bad)
    status: bytes = status_pb2.Status(code=3, message="bad", details=[packed]).SerializeToString()
    return status
