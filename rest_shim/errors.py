"""What a caller is told when something is wrong: a status and a `detail`, never the input or a path."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import grpc
import orjson
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from featsvc.codec import shim_headers
from featsvc.errors import FieldViolation
from featsvc.fields.base import MOST_TOLD
from featsvc.request_ids import request_id
from featsvc.twin.violations import first_mistakes

CALLER_LEFT = 499
"""Nobody reads it: for logs and metrics."""
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: CALLER_LEFT,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# What gRPC itself says about a message over a limit; its other RESOURCE_EXHAUSTED is too many calls at once.
OVER_LIMIT = "message larger than max"
LONGEST_NAME = 64
REASON_HEADER = "X-Featsvc-Reason"
"""Set on what no other try will mend, whatever the status; its words are those of gRPC's `featsvc-reason`."""
NO_MEMORY = "the server has no memory for this at the moment; try again"
UNREACHABLE = "the feature server cannot be reached at the moment; try again"
TOO_LONG = (
    "there was no answer in the time that the request has: give it more by the header X-Request-Timeout, in seconds, "
    "or ask for less, such as a smaller picture (load_size)"
)

# How gRPC's messages begin that name a field which REST has beside the others.
IMAGE_PATH = re.compile(r"\bimage\.(url|digest)\b")

Detail = str | Sequence[Mapping[str, object]]


class HttpError(Exception):
    """An answer other than 200: `detail` is written for the caller."""

    def __init__(
        self,
        status: int,
        detail: Detail,
        headers: Mapping[str, str] | None = None,
        *,
        is_defect: bool | None = None,
        hold_s: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.is_defect = status == 500 if is_defect is None else is_defect
        self.hold_s = hold_s
        """For how many seconds the gateway would have it held back; mostly 0."""

    def response(self) -> Response:
        """The reply, as JSON; of a defect it tells nothing but where to look."""
        detail = (
            f"internal error; the server's log has it under {request_id.get()}"
            if self.is_defect
            else self.detail
        )
        return Response(
            orjson.dumps({"detail": detail}), self.status, self.headers, media_type="application/json"
        )


def out_of_memory() -> HttpError:
    """503: what is asked for may well fit when others are done."""
    return HttpError(503, NO_MEMORY, {"Retry-After": "1"})


def unauthenticated(detail: str) -> HttpError:
    """401, with the scheme that would work."""
    return HttpError(401, detail, {"WWW-Authenticate": "Bearer"})


def too_large(what: str, detail: str) -> HttpError:
    """413: the `request` or the `reply`, which will be too large every time."""
    return HttpError(413, detail, {REASON_HEADER: f"{what}-too-large"})


class Mistake(NamedTuple):
    """What is wrong with a body, and where in it."""

    location: Sequence[str | int]
    message: str
    kind: str


def invalid_fields(mistakes: Iterable[Mistake]) -> HttpError:
    """422 that tells of not more mistakes than a reader can use."""
    return HttpError(
        422,
        [
            {"loc": ["body", *map(_shortened, each.location)], "msg": each.message, "type": each.kind}
            for each in islice(mistakes, MOST_TOLD)
        ],
    )


def invalid_body(error: ValidationError, body: type[BaseModel]) -> HttpError:
    """422 from pydantic's findings; a rule between fields blames the field that it names."""
    return invalid_fields(
        Mistake((*each["loc"], *_blamed(each.get("ctx", {}))), each["msg"], each["type"])
        for each in first_mistakes(error, body)
    )


def field_violations(error: grpc.aio.AioRpcError) -> tuple[FieldViolation, ...]:
    """The google.rpc.BadRequest among the details of a status, if there is one."""
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


def http_error(error: grpc.aio.AioRpcError, words: str = "") -> HttpError:
    """The HTTP form of a status that is no list of mistakes; `words` are for its message, where REST has its own."""
    code, facts = error.code(), trailing(error)
    status = HTTP_STATUS.get(code, 500)
    message = words or error.details() or code.name.lower().replace("_", " ")
    message = IMAGE_PATH.sub(r"image_\1", message)
    message = message.replace("image.content", "image")
    # The gateway gives a reason where another try will not mend it, such as too large a message, or no memory for it.
    reason = _reason(message, facts) if status == 429 else facts.get("featsvc-reason", "")
    if reason:
        # Told even with 500: a request that ended two workers, say, is no defect of this process.
        headers = {REASON_HEADER: str(reason)}
        return HttpError(413 if status == 429 else status, message, headers, is_defect=False)
    if status == 500:
        return HttpError(500, message)
    if status == 401:
        return unauthenticated(message)
    if status == 503 and _from_transport(error):
        return HttpError(503, UNREACHABLE, {"Retry-After": "1"})
    if status == 504 and _from_transport(error):
        return HttpError(504, TOO_LONG)
    later = {"Retry-After": _seconds(facts)} if status in (429, 503) else None
    return HttpError(status, message, later, hold_s=int(facts.get(shim_headers.HOLD, 0)) / 1000)


def trailing(error: grpc.aio.AioRpcError) -> dict[str, str | bytes]:
    """The trailing metadata of a failed call."""
    return dict(error.trailing_metadata() or ())


def _reason(message: str, facts: Mapping[str, str | bytes]) -> str | bytes:
    """What the gateway says, or what gRPC's own words about a message over its limit mean; else empty."""
    before, over, _ = message.lower().partition(OVER_LIMIT)
    # The shim's own side of the connection may stand first; else it is the gateway's.
    is_request = ("receive" in before) != ("client" in before)
    words = "request-too-large" if is_request else "reply-too-large"
    return facts.get("featsvc-reason", words if over else "")


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
