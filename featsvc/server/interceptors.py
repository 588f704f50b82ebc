"""Around every call: request id, key, size, deadline, errors and one line of log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from google.rpc import error_details_pb2, status_pb2

from featsvc.errors import (
    FeatsvcError,
    InvalidArgument,
    InvalidFields,
    OutOfMemory,
    Overloaded,
    ReplyTooLarge,
)
from featsvc.server.keys import Keys
from featsvc.server.logs import request_id

log = logging.getLogger("featsvc.server.calls")
# Health and reflection describe the server; its status is what REST /health shows without a key.
OPEN = re.compile(r"/grpc\.(health|reflection)\..*|/featsvc\.v1\.ModelService/GetStatus")
REQUEST_ID = re.compile(r"[\w.:-]{1,64}")
# Below this, handing work to a thread costs more than doing it.
LARGE = 256 * 1024
MOST_VIOLATIONS = 8
# Marks what another try will not mend, unlike a full queue, which has the same status.
REASONS = {ReplyTooLarge: "reply-too-large", OutOfMemory: "out-of-memory"}

# grpc's handlers and continuations are untyped, hence Any in this module.
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Gives each unary call its id, checks its key, and turns errors into statuses."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """The handler, wrapped; other kinds of calls (health watching, reflection) stay as they are."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        guarded = not OPEN.fullmatch(details.method)

        async def call(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            metadata = dict(context.invocation_metadata() or ())
            asked = str(metadata.get("x-request-id", ""))
            identity = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
            request_id.set(identity)
            began = time.monotonic()
            code = "OK"
            try:
                if guarded:
                    self._keys.check(str(metadata.get("authorization", "")))
                context.set_trailing_metadata((("x-request-id", identity),))
                request = await _decoded(handler.request_deserializer, raw)
                reply = await handler.unary_unary(request, context)
                return await _encoded(reply)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                code = "ABORTED"
                raise
            except FeatsvcError as error:
                code = error.code
                if code == "INTERNAL":
                    log.error("defect", extra={"method": details.method}, exc_info=error)
                await abort(context, error, identity)
            except Exception as error:  # the process boundary: whatever went wrong, the caller gets a status
                code = "INTERNAL"
                log.error("defect", extra={"method": details.method}, exc_info=error)
                await abort(
                    context,
                    FeatsvcError(f"a defect of the server; its log has it under {identity}"),
                    identity,
                )
            finally:
                took = round((time.monotonic() - began) * 1000, 1)
                log.info(
                    "call", extra={"method": details.method, "code": code, "ms": took, "bytes_in": len(raw)}
                )
            raise AssertionError("abort does not return")

        return grpc.unary_unary_rpc_method_handler(call)


async def _decoded(deserialize: Callable[[bytes], ProtoMessage], raw: bytes) -> ProtoMessage:
    try:
        return await asyncio.to_thread(deserialize, raw) if len(raw) > LARGE else deserialize(raw)
    except DecodeError:
        raise InvalidArgument("the request is no valid protobuf message of this method") from None


async def _encoded(reply: ProtoMessage) -> bytes:
    large = reply.ByteSize() > LARGE
    return await asyncio.to_thread(reply.SerializeToString) if large else reply.SerializeToString()


async def abort(context: grpc.aio.ServicerContext, error: FeatsvcError, identity: str) -> None:
    """Ends the call with the status of the error, its field violations and its retry time."""
    # Peers refuse more than about 8 KB of metadata, and a call refused for that has lost its reason.
    code, message = grpc.StatusCode[error.code], shortened(error.message)
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", identity)]
    if isinstance(error, Overloaded):
        metadata.append(("retry-after-ms", str(error.retry_after_ms)))
    if type(error) in REASONS:
        metadata.append(("featsvc-reason", REASONS[type(error)]))
    if isinstance(error, InvalidFields):
        metadata.append(("grpc-status-details-bin", status_details(code, error).SerializeToString()))
    await context.abort(code, message, tuple(metadata))


def shortened(text: str, most_bytes: int = 1000) -> str:
    """The text, cut to what fits into metadata."""
    encoded = text.encode()
    return text if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore") + "…"


def status_details(code: grpc.StatusCode, error: InvalidFields) -> status_pb2.Status:
    """The status with its google.rpc.BadRequest."""
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=shortened(each.field, 100), description=shortened(each.message, 200)
            )
            for each in error.violations[:MOST_VIOLATIONS]
        ]
    )
    packed = AnyMessage()
    packed.Pack(bad)
    return status_pb2.Status(code=code.value[0], message=shortened(error.message), details=[packed])
