"""A gRPC server that answers as a script says, and remembers what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from featsvc_client import calls
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

OPERATIONS = {each.path: each for each in vars(calls).values() if isinstance(each, calls.Operation)}


@dataclass(frozen=True)
class Refusal:
    """A status with its trailing metadata."""

    code: grpc.StatusCode
    message: str = "no"
    trailing: tuple[tuple[str, str | bytes], ...] = ()


@dataclass
class Script:
    """What to answer, in order, and what was asked. A call beyond the script gets the last answer again."""

    answers: deque[Message | Refusal]
    requests: list[Message] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    time_left_s: list[float] = field(default_factory=list)
    target: str = ""

    def next(self) -> Message | Refusal:
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]


class _Generic(grpc.GenericRpcHandler):
    def __init__(self, script: Script) -> None:
        self._script = script

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        operation = OPERATIONS[details.method]

        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            self._script.requests.append(request)
            self._script.metadata.append(dict(context.invocation_metadata()))
            self._script.time_left_s.append(context.time_remaining())
            reply = self._script.next()
            if isinstance(reply, Refusal):
                context.set_trailing_metadata(reply.trailing)
                context.abort(reply.code, reply.message)
            return reply

        return grpc.unary_unary_rpc_method_handler(
            answer, operation.request.FromString, operation.reply.SerializeToString
        )


@contextmanager
def answering(*answers: Message | Refusal) -> Iterator[Script]:
    """A server on a free port of loopback that answers these in turn."""
    script = Script(deque(answers))
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, (_Generic(script),), options=(("grpc.max_receive_message_length", -1),))
        script.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
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
    return status_pb2.Status(code=3, message="bad", details=[packed]).SerializeToString()
