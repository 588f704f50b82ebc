"""One endpoint at work: key, body, message, call, reply."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rest_shim.accept import accepted
from rest_shim.blobs import BLOCK_BYTES
from rest_shim.calls import Answer, ask
from rest_shim.content import content
from rest_shim.endpoints import Endpoint
from rest_shim.errors import HttpError, field_violations, http_error
from rest_shim.gateway import Gateway
from rest_shim.locations import invalid_request
from rest_shim.off_loop import off_loop
from rest_shim.question import Wish, question
from rest_shim.reading import BodyLimits, authorization
from rest_shim.streamed import Streamed


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
        except grpc.aio.AioRpcError as error:
            return self._refusal(error).response(request.state.request_id)
        except ClientDisconnect:
            return HttpError(499, "the caller has left").response()

    async def _answer(self, request: Request) -> Response:
        key = authorization(request, self.terms.refused_key)
        metadata = (("authorization", key), ("x-request-id", request.state.request_id))
        await self.terms.gateway.check_key(key, metadata)
        form = accepted(request.headers.get("accept"), raw=self.endpoint.has_one_tensor)
        async with self.terms.limits.body(request) as body:
            message, wish = await off_loop(len(body), question, self.endpoint, body, form)
        called = ask(self.terms.gateway, self.endpoint.called, message, metadata, request)
        # The request is on its way: from here on only its reply is kept.
        del body, message
        with ExitStack() as stack:
            stack.callback(called.departure.end)
            response = await self._response(called, wish)
            if isinstance(response, Streamed):
                # It watches on until it is sent.
                stack.pop_all()
            return response

    async def _response(self, called: Answer, wish: Wish) -> Response:
        reply = await called.reply()
        made = await off_loop(
            reply.ByteSize(), content, self.endpoint, wish, reply, self.terms.max_reply_bytes
        )
        if made.body.comes_over_call or made.body.length > BLOCK_BYTES:
            return Streamed(made.body.pieces(called.data()), made.body.length, called.departure, made.headers)
        async for _ in called.data():
            raise ValueError("the gateway sent more than its reply announced")
        return Response(made.body.whole(), headers=made.headers)

    def _refusal(self, error: grpc.aio.AioRpcError) -> HttpError:
        violations = field_violations(error)
        return (
            invalid_request(violations, self.endpoint.method.input_type) if violations else http_error(error)
        )
