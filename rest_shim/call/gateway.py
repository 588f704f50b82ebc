"""The gRPC gateway as the shim sees it: bytes in and bytes out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2

from featsvc.certificates import CallerFiles, Stamp
from featsvc.codec import shim_headers
from featsvc.v1 import model_pb2
from rest_shim.errors import HttpError, http_error

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
    # Channels to one target would share one connection.
    ("grpc.use_local_subchannel_pool", 1),
)
# The gateway takes a hundred calls over one connection, and has a queue that is longer than that.
CONNECTIONS = 4
MODELS = model_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name
STATUS_TIMEOUT_S = 2.0
# How long a key that the gateway accepted counts as accepted: every call carries it and is judged again.
KEY_LIFETIME_S = 30.0
MOST_KEYS = 1024
INFER = "infer"
# Of files of TLS.
LOOK_S = 1.0
# Longer than any call takes, for what is under way may still be answered over old connections.
OLD_S = 3600.0

log = logging.getLogger("rest_shim.call.gateway")

Metadata = Sequence[tuple[str, str]]


class GatewayCall(Protocol):
    """A call under way, as grpc.aio makes it."""

    def cancel(self) -> bool:
        """Stops the work behind it."""

    async def trailing_metadata(self) -> Any:  # Any: grpc.aio's class of them
        """What came behind the reply."""

    def __await__(self) -> Generator[Any, None, bytes]:  # Any: what an event loop yields is its own affair
        """The reply, or grpc.aio.AioRpcError."""


class StreamCall(Protocol):
    """A call under way whose reply comes in several messages."""

    def cancel(self) -> bool:
        """Stops the work behind it."""

    async def initial_metadata(self) -> Any:  # Any: grpc.aio's class of them
        """What came before the first message."""

    async def read(self) -> Any:  # Any: bytes, or grpc.aio.EOF, which has no type of its own
        """The next message, grpc.aio.EOF after the last one, or grpc.aio.AioRpcError."""


def takes_no_more_calls(error: grpc.aio.AioRpcError) -> bool:
    """Whether the gateway has all the calls that it takes at once."""
    return bool(error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)


class GatewayClient:
    """Connections to the gateway, which are made anew by themselves when they break, and take turns."""

    def __init__(
        self, target: str, timeout_s: float, asking_key: str = "", tls: CallerFiles | None = None
    ) -> None:
        """`asking_key` is the key by which the state of the gateway is asked for; without one it tells less.

        With `tls` the connections have it. Raises OSError where one of its files cannot be read.
        """
        self._target, self._tls = target, tls
        self._stamp: Stamp = tls.stamp() if tls else ()
        self._channels = _opened(target, tls)
        self._turns = cycle(self._channels)
        self._old: dict[asyncio.Task[None], tuple[grpc.aio.Channel, ...]] = {}
        """Connections that other ones have replaced, by what closes them later."""
        self._timeout_s = timeout_s
        self._asking: Metadata = (("authorization", f"Bearer {asking_key}"),) if asking_key else ()
        self._accepted: OrderedDict[bytes, float] = OrderedDict()
        self._judging: dict[bytes, asyncio.Future[Callable[[], HttpError] | None]] = {}
        self._last_status: model_pb2.GetStatusResponse | None = None
        self.answered = 0
        """Questions whose answers are sent, or that have none."""

    def note_answered(self) -> None:
        """Counts one more."""
        self.answered += 1

    def call(
        self, method: MethodDescriptor, request: bytes, metadata: Metadata, timeout_s: float | None = None
    ) -> GatewayCall:
        """The running call; cancelling it stops the work behind it."""
        return self._start(method, request, metadata, timeout_s or self._timeout_s)

    def stream(
        self, method: MethodDescriptor, request: bytes, metadata: Metadata, timeout_s: float | None = None
    ) -> StreamCall:
        """The same of a method that answers in several messages."""
        calling = self._channel().unary_stream(path(method))
        call: StreamCall = calling(request, metadata=tuple(metadata), timeout=timeout_s or self._timeout_s)
        return call

    async def is_serving(self, service: str) -> bool:
        """What the gateway's own health says of a service; raises AioRpcError."""
        asked = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        raw = await self._start(HEALTH["Check"], asked, (), STATUS_TIMEOUT_S)
        reply = health_pb2.HealthCheckResponse.FromString(raw)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def status(self, *, with_models: bool = False) -> model_pb2.GetStatusResponse:
        """The state of the gateway, or its last known one while it takes no more calls; raises AioRpcError."""
        asked = model_pb2.GetStatusRequest(with_models=with_models).SerializeToString()
        try:
            raw = await self._start(MODELS["GetStatus"], asked, self._asking, STATUS_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if self._last_status is None or not takes_no_more_calls(error):
                raise
            return self._last_status
        self._last_status = model_pb2.GetStatusResponse.FromString(raw)
        return self._last_status

    async def tell_refused(self, refused: Mapping[tuple[str, int], int]) -> None:
        """Tells the gateway what the ports have refused, by port and status; raises AioRpcError.

        Without a key for its state it would not believe it.
        """
        if not self._asking:
            return
        asked = model_pb2.GetStatusRequest().SerializeToString()
        told = (shim_headers.REFUSED, shim_headers.refusals_text(refused))
        await self._start(MODELS["GetStatus"], asked, (*self._asking, told), STATUS_TIMEOUT_S)

    async def state_for(
        self, metadata: Metadata
    ) -> tuple[model_pb2.GetStatusResponse, model_pb2.ListModelsResponse]:
        """What this caller is told of the gateway, and the models that it may use; raises AioRpcError."""
        asked = (
            (MODELS["GetStatus"], model_pb2.GetStatusRequest(with_models=True)),
            (MODELS["ListModels"], model_pb2.ListModelsRequest()),
        )
        status, models = await asyncio.gather(
            *(
                self._start(method, each.SerializeToString(), metadata, self._timeout_s)
                for method, each in asked
            )
        )
        return model_pb2.GetStatusResponse.FromString(status), model_pb2.ListModelsResponse.FromString(models)

    async def check_key(self, shown: str, metadata: Metadata) -> None:
        """Raises HttpError unless who shows this key or certificate may ask models: others' bodies are not read."""
        digest = hashlib.sha256(shown.encode()).digest()
        if self._accepted.get(digest, 0.0) > time.monotonic():
            return
        judging = self._judging.get(digest)
        if judging is None:
            # All who come with the same key meanwhile wait for the same answer.
            judging = self._judging[digest] = asyncio.ensure_future(self._refusal(metadata))
            judging.add_done_callback(lambda _: self._judging.pop(digest))
        refusal = await asyncio.shield(judging)
        if refusal is not None:
            raise refusal()
        self._accepted[digest] = time.monotonic() + KEY_LIFETIME_S
        self._accepted.move_to_end(digest)
        if len(self._accepted) > MOST_KEYS:
            self._accepted.popitem(last=False)

    async def _refusal(self, metadata: Metadata) -> Callable[[], HttpError] | None:
        """Makes what is to be said against a key: each who has come with it raises an error of its own."""
        asked = model_pb2.GetCallerRequest().SerializeToString()
        try:
            raw = await self._start(MODELS["GetCaller"], asked, metadata, self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return partial(http_error, error)
        caller = model_pb2.GetCallerResponse.FromString(raw)
        if INFER not in caller.roles:
            reason = f"the key {caller.name!r} has not the role {INFER}, which this needs"
            return partial(HttpError, 403, reason)
        return None

    async def follow_files(self) -> None:
        """Opens the connections anew each time that files of TLS have changed; calls under way stay where they are.

        Files that cannot be used are told of once, and the connections before them stay.
        """
        while self._tls is not None:
            await asyncio.sleep(LOOK_S)
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                self._tls.context()  # gRPC would say nothing of a key that is not the certificate's
                channels = _opened(self._target, self._tls)
            except OSError as error:
                log.error("changed files of TLS for the gateway cannot be used, the old ones stay: %s", error)
                continue
            closing = asyncio.create_task(_close(self._channels, OLD_S))
            self._old[closing] = self._channels
            closing.add_done_callback(self._old.pop)
            self._channels, self._turns = channels, cycle(channels)
            log.info("changed files of TLS for the gateway are in force")

    async def close(self) -> None:
        """Closes the connections."""
        old = dict(self._old)
        for closing in old:
            closing.cancel()
        await asyncio.gather(*old, return_exceptions=True)
        # Not by those tasks: one that is cancelled before its first step does nothing.
        for channels in (self._channels, *old.values()):
            await _close(channels)

    def _start(
        self, method: MethodDescriptor, request: bytes, metadata: Metadata, timeout_s: float
    ) -> GatewayCall:
        calling = self._channel().unary_unary(path(method))
        call: GatewayCall = calling(request, metadata=tuple(metadata), timeout=timeout_s)
        return call

    def _channel(self) -> grpc.aio.Channel:
        """The next in turn; one that still waits to connect again refuses its calls, so only where all do."""
        for channel in islice(self._turns, CONNECTIONS):
            if channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                return channel
        return channel


def _opened(target: str, tls: CallerFiles | None) -> tuple[grpc.aio.Channel, ...]:
    """Connections that take turns. Raises OSError where a file cannot be read."""
    if tls is None:
        return tuple(grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) for _ in range(CONNECTIONS))
    credentials = grpc.ssl_channel_credentials(*tls.contents())
    return tuple(
        grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS) for _ in range(CONNECTIONS)
    )


async def _close(channels: tuple[grpc.aio.Channel, ...], after_s: float = 0.0) -> None:
    """Close connections after a while."""
    await asyncio.sleep(after_s)
    for each in channels:
        await each.close()


def path(method: MethodDescriptor) -> str:
    """What gRPC calls a method."""
    return f"/{method.containing_service.full_name}/{method.name}"
