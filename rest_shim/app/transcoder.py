"""One endpoint at work: key, body, message, call, reply."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from featsvc.codec import shim_headers
from featsvc.codec.timing import HEADER, WANTED, Timing
from featsvc.request_ids import request_id
from featsvc.tracing import TRACEPARENT, Tracer, current, onward
from featsvc.wrong_keys import WrongKeys, network_of
from rest_shim.app.content import content
from rest_shim.app.endpoints import Endpoint
from rest_shim.app.question import Wish, question
from rest_shim.call.calls import GatewayAnswer, ask
from rest_shim.call.gateway import GatewayClient, Metadata
from rest_shim.call.leaving import held_back
from rest_shim.call.off_loop import off_loop
from rest_shim.call.streamed import Streamed
from rest_shim.errors import CALLER_LEFT, HttpError, field_violations, http_error
from rest_shim.exchange import ASKED
from rest_shim.reply.blobs import BLOCK_BYTES
from rest_shim.reply.encode import TIMING_HEADER
from rest_shim.request.accept import accepted
from rest_shim.request.locations import invalid_request, sentences
from rest_shim.request.reading import BodyLimits, credentials, priority, timeout_s


@dataclass(frozen=True)
class Terms:
    """What holds for every path of a port."""

    gateway: GatewayClient
    limits: BodyLimits
    max_json_bytes: int
    wrong_keys: WrongKeys
    refused_key: str | None
    documented_key: str | None = None
    """The documented default key, where it is one that works here."""
    certificates_stand: bool = True
    """Whether a caller's certificate may stand for a key: the gateway says which one does."""
    tracer: Tracer | None = None
    grpc_port: int | None = None
    """Port of the gRPC server as the page's examples name it, where it is known."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the port shuts down: what is held back is told."""

    def identity(self, request: Request) -> Metadata:
        """Whose request it is, as the gateway is told, first by what; raises HttpError where that may not be used."""
        shown = credentials(request, self.refused_key, certificates_stand=self.certificates_stand)
        return shown, ("x-request-id", request_id.get()), (shim_headers.ADDRESS, _address(request))

    async def hold(self, refusal: HttpError, request: Request) -> None:
        """Waits for as long as who is refused by the gateway is to wait; a wrong key is laid to its sender."""
        if refusal.status == 401:
            await self.wrong_keys.came(_address(request))
        await held_back(refusal, self.closing)


def _address(request: Request) -> str:
    return network_of(request.client.host) if request.client else ""


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
            return error.response()
        except ClientDisconnect:
            return HttpError(CALLER_LEFT, "the caller has left").response()

    async def _answer(self, request: Request) -> Response:
        metadata = self.terms.identity(request)
        patience_s, urgency = timeout_s(request), priority(request)
        timed: Metadata = (*metadata, (HEADER, WANTED))
        if parent := onward.get():
            timed = (*timed, (TRACEPARENT, parent))
        whose = "=".join(metadata[0])
        await self._check_key(whose, metadata, request)
        if (trace := current.get()) is not None:
            trace.is_kept = True
        form = accepted(request.headers.get("accept"), raw=self.endpoint.has_one_tensor)
        async with self.terms.limits.body(request, whose) as body:
            message, wish = await self.terms.limits.converted(
                request, len(body), question, self.endpoint, body, form
            )
        told = (
            *timed,
            *urgency,
            *wish.limit(self.terms.max_json_bytes),
            (shim_headers.BYTES, str(len(message))),
        )
        request.scope[ASKED] = True
        called = ask(self.terms.gateway, self.endpoint.called, message, told, request, patience_s)
        # The request is on its way: from here on only its reply is kept.
        del body, message
        with ExitStack() as stack:
            stack.callback(called.departure.end)
            try:
                response = await self._response(called, wish)
            except grpc.aio.AioRpcError as error:
                refusal = self._refusal(error, wish)
                await held_back(refusal, self.terms.closing, called.departure)
                raise refusal from error
            if isinstance(response, Streamed):
                # It watches on until it is sent.
                stack.pop_all()
            return response

    async def _check_key(self, whose: str, metadata: Metadata, request: Request) -> None:
        try:
            await self.terms.gateway.check_key(whose, metadata)
        except HttpError as error:
            await self.terms.hold(error, request)
            raise

    async def _response(self, called: GatewayAnswer, wish: Wish) -> Response:
        reply = await called.reply()
        began = time.monotonic()
        answer = await off_loop(
            reply.ByteSize(), content, self.endpoint, wish, reply, self.terms.max_json_bytes
        )
        if timing := Timing.read(await called.timing()):
            further_ms = 1000 * (time.monotonic() - began)
            answer.headers[TIMING_HEADER] = timing.encoded_in(further_ms).written()
        if answer.body.comes_over_call or answer.body.length > BLOCK_BYTES:
            return Streamed(
                answer.body.pieces(called.data()), answer.body.length, called.departure, answer.headers
            )
        async for _ in called.data():
            raise ValueError("the gateway sent more than its reply announced")
        return Response(answer.body.whole(), headers=answer.headers)

    def _refusal(self, error: grpc.aio.AioRpcError, wish: Wish) -> HttpError:
        violations, asked = field_violations(error), self.endpoint.method.input_type
        if violations and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return invalid_request(violations, asked, wish.picture)
        # Digests that are gone are named too, but are no mistakes.
        return http_error(error, sentences(violations, asked))
