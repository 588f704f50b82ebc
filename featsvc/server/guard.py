"""Around every call of our services: request id, key, errors and one line of log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from featsvc.errors import InvalidArgument
from featsvc.server.call import Call
from featsvc.server.call_log import CallLog
from featsvc.server.joined import encoded
from featsvc.server.keys import Keys
from featsvc.server.logs import request_id
from featsvc.server.refusals import abort, told

# The server's status is what REST /health shows without a key.
OPEN = frozenset(("/featsvc.v1.ModelService/GetStatus",))
# Below this, handing work to a thread costs more than doing it.
LARGE = 256 * 1024
M = TypeVar("M")
T = TypeVar("T")

# grpc's handlers are untyped, hence Any in this module.
Act = Callable[[M, Call], Awaitable[T]]


class GuardedMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Our services' methods: gives each call its id, checks its key, turns errors into statuses, and logs it.

    Generated code adds services to it as it would to a server. It is a handler and no interceptor of grpc's, which
    would ask for the handler by further coroutines at each call.
    """

    def __init__(self, keys: Keys, calls: CallLog) -> None:
        self._keys = keys
        self._calls = calls
        self._methods: dict[str, Any] = {}
        self._own_ids = _own_ids()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, if it is one of ours."""
        return self._methods.get(details.method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """What generated code says first; the same comes again by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Takes the methods of a service."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._methods[method] = self._around(handler, method)

    def _around(self, handler: Any, method: str) -> Any:
        """The handler with bytes on both sides. A service method answers a reply, or writes them where it streams."""
        decode = handler.request_deserializer

        async def unary(raw: bytes, call: Call) -> bytes:
            request = await _decoded(decode, raw, call)
            reply = await encoded(await handler.unary_unary(request, call))
            call.sent(reply)
            return reply

        async def one_to_many(raw: bytes, call: Call) -> None:
            await handler.unary_stream(await _decoded(decode, raw, call), call)

        async def many_to_many(raw: AsyncIterator[bytes], call: Call) -> None:
            await handler.stream_stream(_each_decoded(decode, raw, call), call)

        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._guarded(method, unary))
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._guarded(method, one_to_many))
        return grpc.stream_stream_rpc_method_handler(self._guarded(method, many_to_many))

    def _guarded(self, method: str, act: Act[M, T]) -> Callable[[M, grpc.aio.ServicerContext], Awaitable[T]]:
        """What gRPC calls: `act` for callers with a key, its errors told."""

        async def guarded(given: M, context: grpc.aio.ServicerContext) -> T:
            call = Call(method, context, next(self._own_ids))
            request_id.set(call.request_id)
            code = "OK"
            try:
                if method not in OPEN:
                    call.caller = self._keys.check(call.authorization)
                # Others learn the id where something goes wrong; sending it always costs a tenth of a small call.
                if call.is_named:
                    context.set_trailing_metadata((("x-request-id", call.request_id),))
                return await act(given, call)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:  # the process boundary: whatever went wrong, the caller gets a status
                refusal = told(error, method)
                code = refusal.code
                await abort(context, refusal)
            finally:
                self._calls.note(call, code)
            # An abort does not return but where the caller has left.
            raise asyncio.CancelledError

        return guarded


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
