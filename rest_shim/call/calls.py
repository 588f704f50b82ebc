"""Calls of the gateway that end with their caller: one reply, or one whose tensor follows in chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from starlette.requests import Request

from featsvc.codec.timing import HEADER
from featsvc.twin.methods import message_class
from featsvc.v1 import sam2_pb2
from rest_shim.call.gateway import GatewayCall, GatewayClient, Metadata, StreamCall
from rest_shim.call.leaving import Departure
from rest_shim.call.off_loop import off_loop


class GatewayAnswer(Protocol):
    """What a call gives."""

    departure: Departure

    async def reply(self) -> Message:
        """The reply; raises AioRpcError, and ClientDisconnect when the caller leaves before it is there."""

    async def timing(self) -> str:
        """What the gateway says of the time that its reply has taken, once that is there; empty where nothing."""

    def data(self) -> AsyncGenerator[bytes]:
        """The data that the reply leaves out, to the end of the call; to be read in any case."""


def ask(
    gateway: GatewayClient,
    method: MethodDescriptor,
    message: bytes,
    metadata: Metadata,
    request: Request,
    timeout_s: float | None,
) -> GatewayAnswer:
    """Starts the call; it has the shim's own timeout where its caller says none."""
    output = method.output_type
    if method.server_streaming:
        call = gateway.stream(method, message, metadata, timeout_s)
        kind = InChunks if "chunk" in output.fields_by_name else MaskByMask
        return kind(call, Departure(request, call, gateway.note_answered), output)
    whole = gateway.call(method, message, metadata, timeout_s)
    return Whole(whole, Departure(request, whole, gateway.note_answered), output)


class Whole:
    """One reply."""

    def __init__(self, call: GatewayCall, departure: Departure, output: Descriptor) -> None:
        self._call, self.departure = call, departure
        self._message = message_class(output)

    async def reply(self) -> Message:
        """The reply, parsed in a thread where it is large."""
        raw = await self.departure.unless_gone(self._call)
        found: Message = await off_loop(len(raw), self._message.FromString, raw)
        return found

    async def timing(self) -> str:
        """It comes behind the reply."""
        return _timing(await self._call.trailing_metadata())

    async def data(self) -> AsyncGenerator[bytes]:
        """Nothing."""
        return
        yield b""


class MaskByMask:
    """Masks, one a message, and then what they have in common: no message is large however many there are."""

    def __init__(self, call: StreamCall, departure: Departure, output: Descriptor) -> None:
        self._call, self.departure = call, departure
        self._part = message_class(output)

    async def reply(self) -> Message:
        """All of it as one reply."""
        found = sam2_pb2.GenerateMasksResponse()
        summary: sam2_pb2.MasksSummary | None = None
        while (raw := await self.departure.unless_gone(self._call.read())) is not grpc.aio.EOF:
            part: Any = self._part.FromString(raw)  # Any: made at run time
            if part.HasField("mask"):
                found.masks.append(part.mask)
            else:
                summary = part.summary
        if summary is None or summary.count != len(found.masks):
            raise ValueError("the gateway ended the call before all masks were there")
        for field, value in summary.ListFields():
            if isinstance(value, Message):
                getattr(found, field.name).CopyFrom(value)
            elif field.name in found.DESCRIPTOR.fields_by_name:
                setattr(found, field.name, value)
        return found

    async def timing(self) -> str:
        """It comes before the reply."""
        return _timing(await self._call.initial_metadata())

    async def data(self) -> AsyncGenerator[bytes]:
        """Nothing."""
        return
        yield b""


class InChunks:
    """A reply, then chunks of what it leaves out."""

    def __init__(self, call: StreamCall, departure: Departure, output: Descriptor) -> None:
        self._call, self.departure = call, departure
        self._part = message_class(output)

    async def reply(self) -> Message:
        """The reply, perhaps without the data of its tensor."""
        raw = await self.departure.unless_gone(self._call.read())
        if raw is grpc.aio.EOF:
            raise ValueError("the gateway ended the call without an answer")
        found: Message = self._parsed(raw).reply
        return found

    async def timing(self) -> str:
        """It comes before the reply."""
        return _timing(await self._call.initial_metadata())

    async def data(self) -> AsyncGenerator[bytes]:
        """The chunks, in order."""
        while (raw := await self.departure.unless_gone(self._call.read())) is not grpc.aio.EOF:
            yield self._parsed(raw).chunk.data

    def _parsed(
        self, raw: bytes
    ) -> Any:  # Any: made at run time, of one form by convention: reply, then chunks
        return self._part.FromString(raw)


def _timing(metadata: Any) -> str:  # Any: grpc.aio's class of them, or None
    return "" if metadata is None else str(metadata.get(HEADER, ""))
