"""Around every call of our services: request id, key, errors and one line of log."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from featsvc.errors import InvalidArgument
from featsvc.server.call import Call
from featsvc.server.joined import encoded
from featsvc.server.keys import Keys
from featsvc.server.logs import line, request_id
from featsvc.server.refusals import abort, told

log = logging.getLogger("featsvc.server.calls")
OURS = "/featsvc.v1."
# The server's status is what REST /health shows without a key.
OPEN = frozenset(("/featsvc.v1.ModelService/GetStatus",))
# Below this, handing work to a thread costs more than doing it.
LARGE = 256 * 1024
T = TypeVar("T")

# grpc's handlers and continuations are untyped, hence Any in this module.
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Act = Callable[[Call], Awaitable[T]]


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Gives each call its id, checks its key, and turns errors into statuses."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._wrapped: dict[str, Any] = {}
        self._own_ids = _own_ids()

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """The handler, wrapped; those of health and reflection, which are open to all, stay as they are."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None or not details.method.startswith(OURS):
                return handler
            wrapped = self._wrapped[details.method] = self._around(handler, details.method)
        return wrapped

    def _around(self, handler: Any, method: str) -> Any:
        """The handler with bytes on both sides. A service method answers a reply, or writes them where it streams."""
        decode = handler.request_deserializer

        async def unary(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            async def act(call: Call) -> bytes:
                request = await _decoded(decode, raw, call)
                reply = await encoded(await handler.unary_unary(request, call))
                call.sent(reply)
                return reply

            return await self._guarded(method, context, act)

        async def one_to_many(raw: bytes, context: grpc.aio.ServicerContext) -> None:
            async def act(call: Call) -> None:
                await handler.unary_stream(await _decoded(decode, raw, call), call)

            await self._guarded(method, context, act)

        async def many_to_many(raw: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
            async def act(call: Call) -> None:
                await handler.stream_stream(_each_decoded(decode, raw, call), call)

            await self._guarded(method, context, act)

        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(unary)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(one_to_many)
        return grpc.stream_stream_rpc_method_handler(many_to_many)

    async def _guarded(self, method: str, context: grpc.aio.ServicerContext, act: Act[T]) -> T:
        call = Call(method, context, next(self._own_ids))
        request_id.set(call.request_id)
        code = "OK"
        try:
            if method not in OPEN:
                call.caller = self._keys.check(call.authorization)
            # Others learn the id where something goes wrong; sending it always costs a tenth of a small call.
            if call.is_named:
                context.set_trailing_metadata((("x-request-id", call.request_id),))
            return await act(call)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:  # the process boundary: whatever went wrong, the caller gets a status
            refusal = told(error, method)
            code = refusal.code
            await abort(context, refusal)
        finally:
            if log.isEnabledFor(logging.INFO):
                log.handle(line(log.name, "call", _told_of(code, call)))
        # An abort does not return but where the caller has left.
        raise asyncio.CancelledError


def _told_of(code: str, call: Call) -> dict[str, object]:
    extra: dict[str, object] = {
        "method": call.method,
        "code": code,
        "ms": round((time.monotonic() - call.began) * 1000, 1),
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
    }
    if call.messages_in > 1 or call.messages_out > 1:
        extra |= {"messages_in": call.messages_in, "messages_out": call.messages_out}
    return extra


async def _decoded(deserialize: Callable[[bytes], ProtoMessage], raw: bytes, call: Call) -> ProtoMessage:
    call.received(raw)
    try:
        return await asyncio.to_thread(deserialize, raw) if len(raw) > LARGE else deserialize(raw)
    except DecodeError:
        raise InvalidArgument("the request is no valid protobuf message of this method") from None


async def _each_decoded(
    deserialize: Callable[[bytes], ProtoMessage], messages: AsyncIterator[bytes], call: Call
) -> AsyncIterator[ProtoMessage]:
    async for raw in messages:
        yield await _decoded(deserialize, raw, call)


def _own_ids() -> Iterator[str]:
    """Names of calls that no other process gives."""
    process = secrets.token_hex(8)
    return (f"{process}{number:016x}" for number in count())
