"""What a caller is told when something is wrong: a status and a `detail`, never the input or a path."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import grpc
import orjson
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from pydantic import ValidationError
from starlette.responses import Response

from featsvc.errors import FieldViolation

HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# What gRPC itself says about a message over a limit; its other RESOURCE_EXHAUSTED is too many calls at once.
OVER_LIMIT = re.compile(r"message larger than max", re.IGNORECASE)
# As many as a gRPC status holds (featsvc.server.refusals.MOST_VIOLATIONS): a mistake reads alike over both.
MOST_FIELDS = 8
LONGEST_NAME = 64
UNREACHABLE = "the feature server cannot be reached at the moment; try again"

Detail = str | Sequence[Mapping[str, object]]


class HttpError(Exception):
    """An answer other than 200: `detail` is written for the caller."""

    def __init__(self, status: int, detail: Detail, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self, request_id: str = "") -> Response:
        """The reply, as JSON; of a defect it tells nothing but where to look."""
        defect = self.status == 500
        detail = f"internal error; the server's log has it under {request_id}" if defect else self.detail
        return Response(
            orjson.dumps({"detail": detail}), self.status, self.headers, media_type="application/json"
        )


def unauthenticated(detail: str) -> HttpError:
    """401, with the scheme that would work."""
    return HttpError(401, detail, {"WWW-Authenticate": "Bearer"})


def invalid_fields(entries: Iterable[tuple[Sequence[str | int], str, str]]) -> HttpError:
    """422 from (location in the body, message, type), not more of them than a reader can use."""
    return HttpError(
        422,
        [
            {"loc": ["body", *map(_shortened, location)], "msg": message, "type": kind}
            for location, message, kind in islice(entries, MOST_FIELDS)
        ],
    )


def invalid_body(error: ValidationError) -> HttpError:
    """422 from pydantic's findings; a rule between fields blames the field that it names."""
    found = error.errors(include_url=False, include_input=False)
    return invalid_fields(
        ((*each["loc"], *_blamed(each.get("ctx", {}))), each["msg"], each["type"]) for each in found
    )


def field_violations(error: grpc.aio.AioRpcError) -> tuple[FieldViolation, ...]:
    """The google.rpc.BadRequest among the details of a status of bad input, if there is one."""
    if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
        # A digest that is gone is named too, but is no mistake.
        return ()
    raw = trailing(error).get("grpc-status-details-bin")
    if not isinstance(raw, bytes):
        return ()
    bad, status = error_details_pb2.BadRequest(), status_pb2.Status()
    try:
        status.ParseFromString(raw)
        for detail in status.details:
            if detail.Unpack(bad):
                return tuple(FieldViolation(each.field, each.description) for each in bad.field_violations)
    except DecodeError:
        return ()
    return ()


def http_error(error: grpc.aio.AioRpcError) -> HttpError:
    """The HTTP form of a status that names no fields."""
    code, facts = error.code(), trailing(error)
    status = HTTP_STATUS.get(code, 500)
    message = error.details() or code.name.lower().replace("_", " ")
    if status == 500:
        return HttpError(500, message)
    if status == 401:
        return unauthenticated(message)
    # The gateway gives a reason where another try will not mend it: too large a message, or no memory for it.
    if status == 429 and ("featsvc-reason" in facts or OVER_LIMIT.search(message)):
        return HttpError(413, message)
    if status == 503 and _from_transport(error):
        return HttpError(503, UNREACHABLE, {"Retry-After": "1"})
    return HttpError(status, message, {"Retry-After": _seconds(facts)} if status in (429, 503) else None)


def trailing(error: grpc.aio.AioRpcError) -> dict[str, str | bytes]:
    """The trailing metadata of a failed call."""
    return dict(error.trailing_metadata() or ())


def _from_transport(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC itself made this status: the gateway puts a request id on each of its own."""
    return "x-request-id" not in trailing(error)


def _seconds(facts: Mapping[str, str | bytes]) -> str:
    given = facts.get("retry-after-ms", "1000")
    milliseconds = int(given) if isinstance(given, str) and given.isdigit() else 1000
    return str(max(1, math.ceil(milliseconds / 1000)))


def _blamed(context: Mapping[str, object]) -> tuple[str, ...]:
    return (str(context["field"]),) if "field" in context else ()


def _shortened(part: str | int) -> str | int:
    """Names of unknown fields are the caller's own, and may be megabytes."""
    return part if isinstance(part, int) or len(part) <= LONGEST_NAME else part[:LONGEST_NAME] + "…"
