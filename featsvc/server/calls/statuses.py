"""From an error to what the caller is told: the status of a call, or the error of one question of a stream."""

from __future__ import annotations

import logging
import math
import re
from contextlib import suppress

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from featsvc.codec import shim_headers
from featsvc.errors import (
    FeatsvcError,
    FieldViolation,
    KilledWorkers,
    NamesFields,
    OutOfMemory,
    Overloaded,
    ReplyTooLarge,
    RequestTooLarge,
    TookTooLong,
)
from featsvc.fields.base import MOST_TOLD
from featsvc.request_ids import request_id
from featsvc.v1 import stream_pb2

log = logging.getLogger("featsvc.server.calls")
BEFORE_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Marks what another try will not mend, whatever its status: a full queue has the same as a reply that is too large.
REASONS = {
    RequestTooLarge: "request-too-large",
    ReplyTooLarge: "reply-too-large",
    OutOfMemory: "out-of-memory",
    KilledWorkers: "killed-workers",
    TookTooLong: "took-too-long",
}


def error_type(refusal: type[Exception] | None, code: str) -> str:
    """What metrics and traces call an error: the name of its class as words, or the code where that says no more."""
    if refusal is None or refusal is FeatsvcError:
        return code
    return BEFORE_CAPITAL.sub("-", refusal.__name__).lower()


def told(error: Exception, method: str) -> FeatsvcError:
    """What the caller is told about an error; a defect is logged here and shown without its details."""
    if isinstance(error, MemoryError):
        log.error("out of memory", extra={"method": method})
        error = Overloaded.within("the server has no memory for this request now, perhaps for a smaller one")
    if not isinstance(error, FeatsvcError) or (error.code == "INTERNAL" and type(error) not in REASONS):
        log.error("defect", extra={"method": method}, exc_info=error)
    # Its traceback holds frames that hold the error: all they know of the request would stay until it is collected.
    error.__traceback__ = error.__context__ = error.__cause__ = None
    if isinstance(error, FeatsvcError):
        return error
    return FeatsvcError(f"a defect of the server; its log has it under {request_id.get()}")


async def abort(context: grpc.aio.ServicerContext, error: FeatsvcError, hold_s: float = 0.0) -> None:
    """Ends the call with the status of the error, its field violations, its retry time and its hold."""
    # Peers refuse more than about 8 KB of metadata, and a call refused for that has lost its reason.
    code, message = grpc.StatusCode[error.code], shortened(error.message)
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", request_id.get())]
    if retry_after_ms := _retry_after_ms(error):
        # The second is what gRPC's own retries go by, where a client has them.
        text = str(retry_after_ms)
        metadata += [("retry-after-ms", text), ("grpc-retry-pushback-ms", text)]
    if hold_s:
        metadata.append((shim_headers.HOLD, str(math.ceil(1000 * hold_s))))
    if type(error) in REASONS:
        metadata.append(("featsvc-reason", REASONS[type(error)]))
    if isinstance(error, NamesFields):
        metadata.append(("grpc-status-details-bin", status_details(code, error).SerializeToString()))
    # Fails where the caller has left meanwhile.
    with suppress(grpc.aio.InternalError):
        try:
            await context.abort(code, message, tuple(metadata))
        finally:
            # The context keeps the error that this raises, and the error our frames. Where these keep the context too,
            # the call stays until the garbage collector runs, and from a hundred of those on gRPC refuses further
            # calls over the same connection.
            del context


def item_error(error: FeatsvcError) -> stream_pb2.ItemError:
    """The same about one question of a stream, whose call goes on."""
    return stream_pb2.ItemError(
        code=error.code,
        message=shortened(error.message),
        field_violations=[
            stream_pb2.FieldViolation(field=each.field, description=each.message)
            for each in _bad_fields(error)
        ],
        retry_after_ms=_retry_after_ms(error),
        reason=REASONS.get(type(error), ""),
    )


def shortened(text: str, most_bytes: int = 1000) -> str:
    """The text, cut to what fits into metadata."""
    encoded = text.encode()
    return text if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore") + "…"


def status_details(code: grpc.StatusCode, error: NamesFields) -> status_pb2.Status:
    """The status with its google.rpc.BadRequest."""
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.message)
            for each in _bad_fields(error)
        ]
    )
    packed = AnyMessage()
    packed.Pack(bad)
    return status_pb2.Status(code=code.value[0], message=shortened(error.message), details=[packed])


def _bad_fields(error: FeatsvcError) -> tuple[FieldViolation, ...]:
    """The first ones, cut to what fits into metadata."""
    if not isinstance(error, NamesFields):
        return ()
    return tuple(
        FieldViolation(shortened(each.field, 100), shortened(each.message, 200))
        for each in error.violations[:MOST_TOLD]
    )


def _retry_after_ms(error: FeatsvcError) -> int:
    return error.retry_after_ms if isinstance(error, Overloaded) else 0
