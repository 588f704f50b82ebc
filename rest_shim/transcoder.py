"""One endpoint at work: key, body, message, call, reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import grpc
import orjson
from google.protobuf.message_factory import GetMessageClass
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rest_shim.bodies import request_bytes
from rest_shim.encode import headers
from rest_shim.endpoints import Endpoint
from rest_shim.errors import HttpError, field_violations, http_error, invalid_body, invalid_fields
from rest_shim.gateway import Call, Gateway
from rest_shim.locations import invalid_request
from rest_shim.reading import BodyLimits, authorization

# Below this, handing work to a thread costs more than doing it, though packed masks grow 43 times in JSON.
LARGE_BYTES = 32 * 1024

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Terms:
    """What holds for every path of a port."""

    gateway: Gateway
    limits: BodyLimits
    max_reply_bytes: int
    refused_key: str | None


@dataclass(frozen=True)
class Transcoder:
    """Answers one path."""

    endpoint: Endpoint
    terms: Terms

    async def answer(self, request: Request) -> Response:
        """The reply; the key is judged before the body is read, and a caller that leaves stops the work."""
        try:
            return await self._answer(request)
        except HttpError as error:
            return error.response(request.state.request_id)
        except ClientDisconnect:
            return HttpError(499, "the caller has left").response()

    async def _answer(self, request: Request) -> Response:
        key = authorization(request, self.terms.refused_key)
        metadata = (("authorization", key), ("x-request-id", request.state.request_id))
        await self.terms.gateway.check_key(key, metadata)
        async with self.terms.limits.body(request) as body:
            message = await off_loop(len(body), self.message, body)
        call = self.terms.gateway.call(self.endpoint.method, message, metadata)
        # The request is on its way: from here on only its reply is kept.
        del body, message
        try:
            reply = await unless_gone(request, call)
        except grpc.aio.AioRpcError as error:
            violations = field_violations(error)
            if violations:
                raise invalid_request(violations, self.endpoint.method.input_type) from error
            raise http_error(error) from error
        content, facts = await off_loop(len(reply), self.content, reply)
        return Response(content, headers=facts, media_type="application/json")

    def message(self, body: bytearray) -> bytes:
        """The gRPC request of a JSON body."""
        try:
            checked = self.endpoint.body.model_validate(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise invalid_fields([((), f"is not JSON: {error}", "json_invalid")]) from None
        except ValidationError as error:
            raise invalid_body(error) from None
        return request_bytes(checked, self.endpoint.method.input_type)

    def content(self, raw: bytes) -> tuple[bytes, dict[str, str]]:
        """The JSON of a gRPC reply, and its headers."""
        reply = GetMessageClass(self.endpoint.method.output_type).FromString(raw)
        return orjson.dumps(self.endpoint.encoder(reply, self.terms.max_reply_bytes)), headers(reply)


async def off_loop(nbytes: int, work: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """The result of the work, which is done in a thread where its input is large."""
    if nbytes < LARGE_BYTES:
        return work(*arguments, **keywords)
    return await asyncio.to_thread(work, *arguments, **keywords)


async def unless_gone(request: Request, call: Call) -> bytes:
    """The reply of the call, which is cancelled when the caller leaves before it is there."""
    replying = asyncio.ensure_future(_reply(call))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((replying, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not replying.done():
            raise ClientDisconnect
        return replying.result()
    finally:
        leaving.cancel()
        if not replying.done():
            replying.cancel()
            call.cancel()
        await asyncio.gather(replying, leaving, return_exceptions=True)


async def _reply(call: Call) -> bytes:
    reply: bytes = await call
    return reply


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
