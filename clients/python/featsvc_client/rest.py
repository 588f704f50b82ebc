"""Calls of the REST services: one connection pool for each address, failures as the client's errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus

import httpx

from featsvc.errors import FieldViolation
from featsvc.twin.violations import violation
from featsvc_client.arguments import connection, rest_fields
from featsvc_client.errors import Failure, ServerError, damaged

DEFAULT_KEY = "smfeats"
TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10.0

CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_ARGUMENT",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.CONFLICT: "FAILED_PRECONDITION",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RESOURCE_EXHAUSTED",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}


class Pools:
    """Open connections, one pool for each address; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, httpx.Client] = {}

    def of(self, base_url: str) -> httpx.Client:
        """The connections to one address."""
        with self._lock:
            if base_url not in self._clients:
                self._clients[base_url] = httpx.Client(base_url=base_url)
            return self._clients[base_url]

    def close(self) -> None:
        """Closes them all; a later call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


# The documented functions have no object that could own their connections, so this module must.
POOLS = Pools()


def post(
    default_url: str, path: str, picture: Mapping[str, str], arguments: Mapping[str, object]
) -> dict[str, object]:
    """The JSON that the service answers to a picture (or none) and the arguments of a documented function."""
    where = connection(arguments)
    base_url, timeout_s = where.get("base_url", default_url), where.get("timeout", TIMEOUT_S)
    key = where.get("api_key", DEFAULT_KEY)
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    body = {**picture, **rest_fields(arguments)}
    try:
        answer = POOLS.of(base_url).post(
            path, json=body, headers={"Authorization": f"Bearer {key}".strip()}, timeout=timeout
        )
    except httpx.TimeoutException as error:
        raise Failure("DEADLINE_EXCEEDED", f"{base_url}: no answer within {timeout_s:g} s").error() from error
    except httpx.TransportError as error:
        raise Failure("UNAVAILABLE", f"{base_url}: {error}").error() from error
    if not answer.is_success:
        raise failure(answer).error()
    return _object(answer.content)


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
    return Failure(
        CODES.get(status, "INTERNAL"),
        message,
        answer.headers.get("x-request-id", ""),
        violations,
        _seconds(answer.headers.get("retry-after", "")),
        status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )


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
