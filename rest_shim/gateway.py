"""The gRPC gateway as the shim sees it: one channel, bytes in and bytes out."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor

from featsvc.v1 import model_pb2
from rest_shim.errors import http_error

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A gateway that comes back is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name this is how long one attempt may take: a busy gateway must not count as gone.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)
MODELS = model_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name
STATUS_TIMEOUT_S = 2.0
# How long a key that the gateway accepted counts as accepted: every call carries it and is judged again.
KEY_LIFETIME_S = 30.0
MOST_KEYS = 1024

Metadata = Sequence[tuple[str, str]]


class Call(Protocol):
    """A call under way, as grpc.aio makes it."""

    def cancel(self) -> bool:
        """Stops the work behind it."""

    def __await__(self) -> Generator[Any, None, bytes]:  # Any: what an event loop yields is its own affair
        """The reply, or grpc.aio.AioRpcError."""


class StreamCall(Protocol):
    """A call under way whose reply comes in several messages."""

    def cancel(self) -> bool:
        """Stops the work behind it."""

    async def read(self) -> Any:  # Any: bytes, or grpc.aio.EOF, which has no type of its own
        """The next message, grpc.aio.EOF after the last one, or grpc.aio.AioRpcError."""


def takes_no_more_calls(error: grpc.aio.AioRpcError) -> bool:
    """Whether the gateway has all the calls that it takes at once."""
    return bool(error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)


class Gateway:
    """A connection to the gateway, which is made anew by itself when it breaks."""

    def __init__(self, target: str, timeout_s: float) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._timeout_s = timeout_s
        self._accepted: OrderedDict[bytes, float] = OrderedDict()
        self._last_status: model_pb2.GetStatusResponse | None = None

    def call(self, method: MethodDescriptor, request: bytes, metadata: Metadata) -> Call:
        """The running call; cancelling it stops the work behind it."""
        return self._start(method, request, metadata, self._timeout_s)

    def stream(self, method: MethodDescriptor, request: bytes, metadata: Metadata) -> StreamCall:
        """The same of a method that answers in several messages."""
        calling = self._channel.unary_stream(path(method))
        call: StreamCall = calling(request, metadata=tuple(metadata), timeout=self._timeout_s)
        return call

    async def status(self) -> model_pb2.GetStatusResponse:
        """The state of the gateway, or its last known one while it takes no more calls; raises AioRpcError."""
        try:
            raw = await self._start(MODELS["GetStatus"], b"", (), STATUS_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if self._last_status is None or not takes_no_more_calls(error):
                raise
            return self._last_status
        self._last_status = model_pb2.GetStatusResponse.FromString(raw)
        return self._last_status

    async def check_key(self, authorization: str, metadata: Metadata) -> None:
        """Raises HttpError unless the gateway accepts the key: bodies are read only for those it knows."""
        digest = hashlib.sha256(authorization.encode()).digest()
        if self._accepted.get(digest, 0.0) > time.monotonic():
            return
        # The shortest list of models: what counts is whether it is answered.
        asked = model_pb2.ListModelsRequest(family=model_pb2.FAMILY_SAM2).SerializeToString()
        try:
            await self._start(MODELS["ListModels"], asked, metadata, self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise http_error(error) from error
        self._accepted[digest] = time.monotonic() + KEY_LIFETIME_S
        self._accepted.move_to_end(digest)
        if len(self._accepted) > MOST_KEYS:
            self._accepted.popitem(last=False)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    def _start(self, method: MethodDescriptor, request: bytes, metadata: Metadata, timeout_s: float) -> Call:
        calling = self._channel.unary_unary(path(method))
        call: Call = calling(request, metadata=tuple(metadata), timeout=timeout_s)
        return call


def path(method: MethodDescriptor) -> str:
    """What gRPC calls a method."""
    return f"/{method.containing_service.full_name}/{method.name}"
