"""What the two gRPC clients share about their connection."""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc.experimental import ChannelOptions

from featsvc.v1 import stream_pb2
from featsvc_client.errors import Failure, FieldViolation

TARGET = "localhost:50051"
DEFAULT_KEY = "smfeats"
TIMEOUT_S = 300.0

OPTIONS = (
    # Features are as large as the server allows; a second limit here would only hide its message.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # gRPC's own second before it connects again would make quick retries fail without trying.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name this is how long one attempt may take, TLS and a busy server's answer included.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5000),
)
# The caller's own thread receives, instead of one made for each call: 64 MB in pieces then take half the CPU time.
BLOCKING_OPTIONS = (*OPTIONS, (ChannelOptions.SingleThreadedUnaryStream, 1))
# What gRPC itself says about a message over its limit; trying again cannot help.
EXHAUSTED = "RESOURCE_EXHAUSTED"
OVER_LIMIT = re.compile(r"message larger than max", re.IGNORECASE)


def metadata(api_key: str) -> tuple[tuple[str, str], ...]:
    """What each call carries beside its request."""
    return (("authorization", f"Bearer {api_key}"),)


def failure(error: grpc.RpcError) -> Failure:
    """What an error of either of grpc's APIs says."""
    trailing: dict[str, str | bytes] = dict(error.trailing_metadata() or ())
    message = error.details() or ""
    code = error.code().name
    return Failure(
        code,
        message,
        _word(trailing, "x-request-id"),
        _violations(trailing.get("grpc-status-details-bin", b"")),
        _seconds(_word(trailing, "retry-after-ms")),
        # The server gives a reason where another try will not mend it: too large a message, or no memory for it.
        code == EXHAUSTED and ("featsvc-reason" in trailing or OVER_LIMIT.search(message) is not None),
    )


def item_failure(error: stream_pb2.ItemError) -> Failure:
    """What the answer to one question of a stream says."""
    return Failure(
        error.code,
        error.message,
        "",
        tuple(FieldViolation(each.field, each.description) for each in error.field_violations),
        error.retry_after_ms / 1000 if error.retry_after_ms else None,
        error.code == EXHAUSTED and not error.retry_after_ms,
    )


def _violations(details: str | bytes) -> tuple[FieldViolation, ...]:
    """The bad fields of a google.rpc.Status."""
    bad = error_details_pb2.BadRequest()
    try:
        status = status_pb2.Status.FromString(details if isinstance(details, bytes) else details.encode())
        packed = [each for each in status.details if each.Is(bad.DESCRIPTOR)]
        for each in packed:
            bad.MergeFromString(each.value)
    except DecodeError:  # details are an extra; without them code and message still stand
        return ()
    return tuple(FieldViolation(each.field, each.description) for each in bad.field_violations)


def _word(trailing: Mapping[str, str | bytes], name: str) -> str:
    value = trailing.get(name, "")
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _seconds(milliseconds: str) -> float | None:
    return int(milliseconds) / 1000 if milliseconds.isdecimal() else None
