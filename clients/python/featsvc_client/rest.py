"""Calls of the REST services: one connection pool for each address, failures as the client's errors."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

import httpx
import numpy as np

from featsvc.errors import FieldViolation
from featsvc.twin.violations import violation
from featsvc_client import channel
from featsvc_client.arguments import connection, rest_fields
from featsvc_client.errors import LONGER, REQUEST_TOO_LARGE, Failure, ServerError, damaged
from featsvc_client.terms import Terms
from featsvc_client.tls import Tls

TIMEOUT_S = 300.0
TIMEOUT_HEADER = "X-Request-Timeout"
"""Seconds that the server may take."""
PRIORITY_HEADER = "X-Request-Priority"
LEAST_TIMEOUT_S = 0.001
CONNECT_TIMEOUT_S = 10.0
SERVICE_HEADER = "x-featsvc-service"
PICTURE_FIELD = "image.digest"
PICTURE_FIELDS = (PICTURE_FIELD, "image_digest")
OF_DIGEST = re.compile(r"image\.digest|\w+_digests\[\d+\]")
"""The fields that hold the digest of a picture, or one in a list."""
NEXT_DIGEST = re.compile(r"; (?=\w+_digests\[\d+\]: )")
"""Between two sentences about digests of a list."""
TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
JSON, OCTETS = "application/json", "application/octet-stream"

CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_ARGUMENT",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.CONFLICT: "FAILED_PRECONDITION",
    TOO_LARGE: "RESOURCE_EXHAUSTED",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}


class Pools:
    """Open connections, one pool for each address and its TLS; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, Tls | None], httpx.Client] = {}

    def of(self, base_url: str, tls: Tls | None) -> httpx.Client:
        """The connections to one address. Raises OSError where the files of its TLS cannot be used."""
        with self._lock:
            if (base_url, tls) not in self._clients:
                verify = True if tls is None else tls.context()
                self._clients[base_url, tls] = httpx.Client(base_url=base_url, verify=verify)
            return self._clients[base_url, tls]

    def close(self) -> None:
        """Closes them all; a later call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


# The documented functions have no object that could own their connections, so this module must.
POOLS = Pools()


@dataclass(frozen=True)
class Raw:
    """The elements of one tensor, and what the headers say about it."""

    headers: httpx.Headers
    data: memoryview


@dataclass(frozen=True)
class Endpoint:
    """A path, and the service that must answer there: two services have one of the same name."""

    path: str
    service: str


def post(
    default_url: str, endpoint: Endpoint, picture: Mapping[str, str], arguments: Mapping[str, object]
) -> dict[str, object]:
    """The JSON that the service answers to a picture (or none) and the arguments of a documented function."""
    found = _posted(Request(default_url, endpoint, {**picture, **rest_fields(arguments)}), arguments, JSON)
    return _object(found if isinstance(found, bytes) else found.data.tobytes())


def post_for_tensor(
    default_url: str, endpoint: Endpoint, picture: Mapping[str, str], arguments: Mapping[str, object]
) -> Raw | dict[str, object]:
    """The same as bytes, or as JSON where the service has or can have no other form of it."""
    request = Request(default_url, endpoint, {**picture, **rest_fields(arguments)})
    try:
        found = _posted(request, arguments, f"{OCTETS}, {JSON};q=0.5")
    except NotAcceptable:
        found = _posted(request, arguments, JSON)
    return _object(found) if isinstance(found, bytes) else found


@dataclass(frozen=True)
class Request:
    """What is asked, and where unless the arguments say otherwise."""

    default_url: str
    endpoint: Endpoint
    body: Mapping[str, object]


class NotAcceptable(Exception):
    """The answer has no such form."""


def _posted(request: Request, arguments: Mapping[str, object], accept: str) -> Raw | bytes:
    """The answer, as bytes of a tensor or of JSON."""
    where = connection(arguments)
    base_url, timeout_s = where.get("base_url", request.default_url), where.get("timeout", TIMEOUT_S)
    terms = Terms(timeout_s, where.get("priority", 0))
    tls = Tls.of(where.get("tls_ca"), where.get("tls_cert"), where.get("tls_key"))
    key = channel.chosen(where.get("api_key", channel.ByDefault.KEY), tls)
    sending = {
        **({} if key is None else {"Authorization": f"Bearer {key}".strip()}),
        "Accept": accept,
        # The server's own default may be less.
        TIMEOUT_HEADER: f"{max(timeout_s, LEAST_TIMEOUT_S):.3f}",
        **({PRIORITY_HEADER: str(terms.priority)} if terms.priority else {}),
    }
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    try:
        with POOLS.of(base_url, tls).stream(
            "POST", request.endpoint.path, json=request.body, headers=sending, timeout=timeout
        ) as answer:
            _check_service(answer, request.endpoint, base_url)
            if answer.is_success and answer.headers.get("content-type", "").startswith(OCTETS):
                return Raw(answer.headers, _filled(answer))
            found = answer.read()
    except httpx.TimeoutException as error:
        raise Failure(
            "DEADLINE_EXCEEDED", f"{base_url}: no answer within {timeout_s:g} s; {LONGER}"
        ).error() from error
    except httpx.RemoteProtocolError as error:
        told = f"{base_url}: {error}; what answers there is no REST service: is it the gRPC port?"
        raise Failure("UNAVAILABLE", told).error() from error
    except httpx.TransportError as error:
        raise Failure("UNAVAILABLE", f"{base_url}: {error}").error() from error
    if answer.status_code == HTTPStatus.NOT_ACCEPTABLE and accept != JSON:
        raise NotAcceptable
    if answer.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        # The server speaks of its header.
        raise replace(failure(answer), message=f"no answer in time: {LONGER}").error()
    if not answer.is_success:
        raise failure(answer).error()
    return found


def _check_service(answer: httpx.Response, endpoint: Endpoint, base_url: str) -> None:
    """Raises InvalidRequest where another service has answered: its features would pass for those that were meant."""
    found = answer.headers.get(SERVICE_HEADER, endpoint.service)
    if found != endpoint.service:
        raise Failure(
            "INVALID_ARGUMENT",
            f"{base_url} is {found} and not {endpoint.service}: give base_url the address of the right port",
        ).error()


def _filled(answer: httpx.Response) -> memoryview:
    """The body in one block of memory, into which it is copied as it comes; writable."""
    length = answer.headers.get("content-length", "")
    if not length.isdecimal() or "content-encoding" in answer.headers:
        return memoryview(bytearray(answer.read()))
    block, filled = np.empty(int(length), np.uint8).data, 0
    for piece in answer.iter_raw():
        block[filled : filled + len(piece)] = piece
        filled += len(piece)
    return block


def failure(answer: httpx.Response) -> Failure:
    """What an answer with an error status says."""
    status = answer.status_code
    violations: tuple[FieldViolation, ...] = ()
    message = f"HTTP status {status}"
    try:
        detail = _object(answer.content).get("detail", message)
    except ServerError:  # a proxy answers in its own words; its status says enough
        detail = message
    if isinstance(detail, list):
        violations = tuple(_violation(each) for each in detail if isinstance(each, Mapping))
        message = "; ".join(f"{each.field}: {each.message}" for each in violations) or message
    else:
        message = str(detail)
        violations = tuple(_not_found(message))
    return Failure(
        CODES.get(status, "INTERNAL"),
        message,
        answer.headers.get("x-request-id", ""),
        violations,
        _seconds(answer.headers.get("retry-after", "")),
        # A proxy that says no more than the status means the request.
        answer.headers.get("x-featsvc-reason", REQUEST_TOO_LARGE if status == TOO_LARGE else ""),
    )


def _not_found(message: str) -> Iterator[FieldViolation]:
    """The digests that are gone: a text has no room for fields, so each of its sentences begins with one."""
    for sentence in NEXT_DIGEST.split(message):
        field, colon, what = sentence.partition(": ")
        named = PICTURE_FIELD if field in PICTURE_FIELDS else field
        if colon and OF_DIGEST.fullmatch(named):
            yield FieldViolation(named, what)


def _violation(entry: Mapping[str, object]) -> FieldViolation:
    """One entry of `detail`; that every field is one of the body needs no saying."""
    found = violation({"msg": "", **entry})
    return FieldViolation(found.field.removeprefix("body."), found.message)


def _object(content: bytes) -> dict[str, object]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise damaged("no JSON object; is this the address of a featsvc service?")
    return answer


def _seconds(header: str) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is not used by featsvc."""
    return float(header) if header.isdecimal() else None
