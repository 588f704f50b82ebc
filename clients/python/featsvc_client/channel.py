"""What the two gRPC clients share about their connection."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc.experimental import ChannelOptions

from featsvc.environment import key_to_send
from featsvc.v1 import stream_pb2
from featsvc_client.errors import (
    EXHAUSTED,
    LONGER,
    NOT_GRPC,
    REPLY_TOO_LARGE,
    REQUEST_TOO_LARGE,
    Failure,
    FieldViolation,
    invalid,
)
from featsvc_client.tls import Tls

PORT = 50051
TARGET = f"localhost:{PORT}"
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
OVER_LIMIT = "message larger than max"
# And about a server that speaks HTTP/1.1; which of these depends on what comes first.
OLDER_HTTP = ("http1.x server", "http/1.", "failed parsing http/2")
# And where the time is over that this client gave the call.
OWN_DEADLINE = "Deadline Exceeded"
WEB = ("http://", "https://")
PLAIN, SECURE = "grpc://", "grpcs://"
SPEAKS_HTTP = (
    f"this port speaks HTTP, as those of REST do: give the gRPC port ({PORT} unless another was chosen)"
)


Credentials: TypeAlias = Tls | grpc.ChannelCredentials
"""What makes a connection TLS."""


class ByDefault(Enum):
    """Stands for the key where a caller says nothing of it."""

    KEY = DEFAULT_KEY


ApiKey: TypeAlias = str | ByDefault | None
"""None sends no key. By default it is that of FEATSVC_API_KEY, else the documented one, or none beside the certificate
of a Tls."""


def opened(target: str, credentials: Credentials | None = None) -> grpc.Channel:
    """A connection for threads; the first call opens it. Raises InvalidRequest, and OSError for the files of a Tls."""
    address, found = _secured(target, credentials)
    if found is None:
        return grpc.insecure_channel(address, BLOCKING_OPTIONS)
    return grpc.secure_channel(address, found, BLOCKING_OPTIONS)


def opened_aio(target: str, credentials: Credentials | None = None) -> grpc.aio.Channel:
    """The same for asyncio."""
    address, found = _secured(target, credentials)
    if found is None:
        return grpc.aio.insecure_channel(address, OPTIONS)
    return grpc.aio.secure_channel(address, found, OPTIONS)


def _secured(target: str, credentials: Credentials | None) -> tuple[str, grpc.ChannelCredentials | None]:
    """The address without its scheme, and what makes it TLS: `grpcs://` does by itself."""
    scheme = next((each for each in (PLAIN, SECURE) if target.lower().startswith(each)), "")
    if scheme == SECURE and credentials is None:
        credentials = Tls()
    if scheme == PLAIN and credentials is not None:
        raise invalid(FieldViolation("target", f"{target!r} is without TLS: write it with {SECURE}"))
    address = target[len(scheme) :].rstrip("/") if scheme else target
    checked(address, has_tls=credentials is not None)
    return address, credentials.credentials() if isinstance(credentials, Tls) else credentials


def checked(target: str, *, has_tls: bool = False) -> str:
    """An address as gRPC takes it. Raises InvalidRequest where it would lead to another port, or nowhere."""
    scheme = next((each for each in WEB if target.lower().startswith(each)), "")
    host = target[len(scheme) :].partition("/")[0]
    has_port = ":" in host.rpartition("]")[2]
    if scheme:
        message = f"{target!r} is an address of the web, as REST has it"
    elif has_port or has_tls:
        return target
    else:
        message = f"{target!r} has no port"
    suggested = host if has_port else f"{host}:{PORT}"
    raise invalid(FieldViolation("target", f"{message}: the gRPC server is HOST:PORT, such as {suggested!r}"))


def chosen(api_key: ApiKey, credentials: Credentials | None = None) -> str | None:
    """The key to send beside these credentials, if any."""
    if not isinstance(api_key, ByDefault):
        return api_key
    has_certificate = isinstance(credentials, Tls) and credentials.cert
    return key_to_send() or (None if has_certificate else DEFAULT_KEY)


def metadata(api_key: ApiKey, credentials: Credentials | None = None) -> tuple[tuple[str, str], ...]:
    """What each call carries beside its request."""
    key = chosen(api_key, credentials)
    return () if key is None else (("authorization", f"Bearer {key}"),)


def failure(error: grpc.RpcError) -> Failure:
    """What an error of either of grpc's APIs says."""
    trailing: dict[str, str | bytes] = dict(error.trailing_metadata() or ())
    message = error.details() or ""
    code = error.code().name
    if code == "UNAVAILABLE" and any(words in message.lower() for words in OLDER_HTTP):
        return Failure(code, SPEAKS_HTTP, reason=NOT_GRPC)
    if message == OWN_DEADLINE:
        message = f"no answer in time: {LONGER}"
    return Failure(
        code,
        message,
        _word(trailing, "x-request-id"),
        _violations(trailing.get("grpc-status-details-bin", b"")),
        _seconds(_word(trailing, "retry-after-ms")),
        # The server gives a reason, beside whatever status, where another try will not mend it.
        _word(trailing, "featsvc-reason") or (over_limit(message) if code == EXHAUSTED else ""),
    )


def item_failure(error: stream_pb2.ItemError) -> Failure:
    """What the answer to one question of a stream says."""
    return Failure(
        error.code,
        error.message,
        "",
        tuple(FieldViolation(each.field, each.description) for each in error.field_violations),
        error.retry_after_ms / 1000 if error.retry_after_ms else None,
        error.reason or (REPLY_TOO_LARGE if error.code == EXHAUSTED and not error.retry_after_ms else ""),
    )


def over_limit(message: str) -> str:
    """The reason in gRPC's own words about a message over its limit; empty where they are about something else."""
    before, found, _ = message.lower().partition(OVER_LIMIT)
    if not found:
        return ""
    # Who says it may stand first; else it is the server, for this client has no limits.
    is_request = ("receive" in before) != ("client" in before)
    return REQUEST_TOO_LARGE if is_request else REPLY_TOO_LARGE


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
