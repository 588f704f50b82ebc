"""Calls of the gateway that end with their caller: one reply, or one whose tensor follows in chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request

from rest_shim.gateway import Call, Gateway, Metadata, StreamCall
from rest_shim.leaving import Departure
from rest_shim.off_loop import off_loop


class Answer(Protocol):
    """What a call gives."""

    departure: Departure

    async def reply(self) -> Message:
        """The reply; raises AioRpcError, and ClientDisconnect when the caller leaves before it is there."""

    def data(self) -> AsyncGenerator[bytes]:
        """The data that the reply leaves out, to the end of the call; to be read in any case."""


def ask(
    gateway: Gateway, method: MethodDescriptor, message: bytes, metadata: Metadata, request: Request
) -> Answer:
    """Starts the call."""
    output = method.output_type
    if method.server_streaming:
        call = gateway.stream(method, message, metadata)
        return InChunks(call, Departure(request, call), output)
    whole = gateway.call(method, message, metadata)
    return Whole(whole, Departure(request, whole), output)


class Whole:
    """One reply."""

    def __init__(self, call: Call, departure: Departure, output: Descriptor) -> None:
        self._call, self.departure = call, departure
        self._message = GetMessageClass(output)

    async def reply(self) -> Message:
        """The reply, parsed in a thread where it is large."""
        raw = await self.departure.unless_gone(self._call)
        found: Message = await off_loop(len(raw), self._message.FromString, raw)
        return found

    async def data(self) -> AsyncGenerator[bytes]:
        """Nothing."""
        return
        yield b""


class InChunks:
    """A reply, then chunks of what it leaves out."""

    def __init__(self, call: StreamCall, departure: Departure, output: Descriptor) -> None:
        self._call, self.departure = call, departure
        self._part = GetMessageClass(output)

    async def reply(self) -> Message:
        """The reply, perhaps without the data of its tensor."""
        raw = await self.departure.unless_gone(self._call.read())
        if raw is grpc.aio.EOF:
            raise ValueError("the gateway ended the call without an answer")
        found: Message = self._parsed(raw).reply
        return found

    async def data(self) -> AsyncGenerator[bytes]:
        """The chunks, in order."""
        while (raw := await self.departure.unless_gone(self._call.read())) is not grpc.aio.EOF:
            yield self._parsed(raw).chunk.data

    def _parsed(
        self, raw: bytes
    ) -> Any:  # Any: made at run time, of one form by convention: reply, then chunks
        return self._part.FromString(raw)
