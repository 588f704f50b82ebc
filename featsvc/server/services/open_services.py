"""What is answered without a key: grpc.health.v1, and reflection, so that generic clients need no proto files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from operator import attrgetter
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from featsvc.errors import NotFound
from featsvc.server.calls.call import Call

# protobuf's compiled and pure descriptors share no type.
FileDescriptor: TypeAlias = Any
State: TypeAlias = health_pb2.HealthCheckResponse.ServingStatus
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
ALPHA, FIRST = "grpc.reflection.v1alpha", "grpc.reflection.v1"
REFLECTION = tuple(f"{package}.ServerReflection" for package in (ALPHA, FIRST))
Asked: TypeAlias = reflection_pb2.ServerReflectionRequest
Answer: TypeAlias = reflection_pb2.ServerReflectionResponse


class HealthService:
    """grpc.health.v1.Health: the state of each service, and of the server as the one without a name."""

    def __init__(self, states: Mapping[str, State]) -> None:
        self._states = dict(states)
        self._changed = asyncio.Event()
        self._is_final = False

    def set(self, states: Mapping[str, State]) -> None:
        """Tells new states."""
        if not self._is_final and states.items() - self._states.items():
            self._states |= states
            self._changed.set()
            self._changed = asyncio.Event()

    def serving(self) -> dict[str, bool]:
        """Which services serve."""
        return {name: state == SERVING for name, state in self._states.items()}

    def close(self) -> None:
        """Nothing serves from now on, whatever is told later."""
        self._states = dict.fromkeys(self._states, NOT_SERVING)
        self._is_final = True
        self._changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> health_pb2.HealthCheckResponse:
        """The state now; raises NotFound for a service that the server has not."""
        if request.service not in self._states:
            raise NotFound(
                f"service: {request.service[:100]!r} is none of {', '.join(filter(None, self._states))}"
            )
        return health_pb2.HealthCheckResponse(status=self._states[request.service])

    async def Watch(self, request: health_pb2.HealthCheckRequest, call: Call) -> None:
        """The state now and at every change, until the caller leaves or the server shuts down."""
        told = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, UNKNOWN)
            if state != told:
                await call.write(health_pb2.HealthCheckResponse(status=state))
                told = state
            if self._is_final:
                return
            await changed.wait()


class Reflection:
    """grpc.reflection.v1 and v1alpha, whose messages are the same: files by their names and by what is in them."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self._pool: Any = descriptor_pool.Default()
        self._find: Mapping[str, Callable[[Asked], FileDescriptor]] = {
            "file_by_filename": lambda asked: self._pool.FindFileByName(asked.file_by_filename),
            "file_containing_symbol": lambda asked: self._containing(asked.file_containing_symbol),
            "file_containing_extension": self._extending,
        }
        _know_first_version(self._pool)

    async def ServerReflectionInfo(self, questions: AsyncIterator[Asked], call: Call) -> None:
        """Answers each question."""
        async for asked in questions:
            await call.write(self._answer(asked))

    def _answer(self, asked: Asked) -> Answer:
        kind = asked.WhichOneof("message_request")
        answer = reflection_pb2.ServerReflectionResponse(original_request=asked)
        try:
            if kind == "list_services":
                for name in self._services:
                    answer.list_services_response.service.add(name=name)
            elif kind == "all_extension_numbers_of_type":
                self._number(asked.all_extension_numbers_of_type, answer)
            elif kind in self._find:
                answer.file_descriptor_response.file_descriptor_proto.extend(
                    _with_imports(self._find[kind](asked))
                )
            else:
                _refuse(
                    answer, grpc.StatusCode.INVALID_ARGUMENT, "the question is none that this server knows"
                )
        except KeyError:
            _refuse(answer, grpc.StatusCode.NOT_FOUND, f"{kind}: not known to this server")
        return answer

    def _containing(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            # Methods, which protobuf itself does not look up.
            return self._pool.FindMethodByName(symbol).containing_service.file

    def _extending(self, asked: Asked) -> FileDescriptor:
        wanted = asked.file_containing_extension
        extended = self._pool.FindMessageTypeByName(wanted.containing_type)
        return self._pool.FindExtensionByNumber(extended, wanted.extension_number).file

    def _number(self, name: str, answer: Answer) -> None:
        extensions = self._pool.FindAllExtensions(self._pool.FindMessageTypeByName(name))
        answer.all_extension_numbers_response.base_type_name = name
        answer.all_extension_numbers_response.extension_number.extend(
            sorted(each.number for each in extensions)
        )


def _with_imports(file: FileDescriptor) -> list[bytes]:
    """The file, and all that it imports, each once."""
    files: dict[str, bytes] = {}
    todo = [file]
    while todo:
        each = todo.pop()
        if each.name not in files:
            proto = descriptor_pb2.FileDescriptorProto()
            each.CopyToProto(proto)
            files[each.name] = proto.SerializeToString()
            todo += each.dependencies
    return list(files.values())


def _refuse(answer: Answer, code: grpc.StatusCode, message: str) -> None:
    answer.error_response.error_code = code.value[0]
    answer.error_response.error_message = message


def _know_first_version(pool: Any) -> None:  # Any: see FileDescriptor
    """Adds the description of grpc.reflection.v1, which is that of v1alpha under another name."""
    raw = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(raw)
    raw.package, raw.name = FIRST, raw.name.replace("v1alpha", "v1")
    raw.ClearField("options")
    for message in raw.message_type:
        for field in filter(attrgetter("type_name"), message.field):
            field.type_name = field.type_name.replace(f".{ALPHA}.", f".{FIRST}.")
    for method in raw.service[0].method:
        method.input_type = method.input_type.replace(f".{ALPHA}.", f".{FIRST}.")
        method.output_type = method.output_type.replace(f".{ALPHA}.", f".{FIRST}.")
    try:
        pool.FindFileByName(raw.name)
    except KeyError:
        pool.AddSerializedFile(raw.SerializeToString())
