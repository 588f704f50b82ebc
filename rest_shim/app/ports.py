"""The FastAPI application of one port."""

from __future__ import annotations

from functools import cache

import orjson
from fastapi import FastAPI, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from featsvc.codec import priority as priorities
from featsvc.tracing import TRACERESPONSE
from rest_shim.app.documentation import RAW_FACTS, KnownModels, PortApp, success
from rest_shim.app.endpoints import RestPort
from rest_shim.app.envelope import Envelope
from rest_shim.app.health import Counter, health, why_not_ready
from rest_shim.app.swagger import add_page
from rest_shim.app.transcoder import Terms, Transcoder
from rest_shim.errors import REASON_HEADER, HttpError
from rest_shim.reply.encode import HEADERS, SERVICE_HEADER, TIMING_HEADER
from rest_shim.reply.port_replies import FieldProblems, Health, Problem, Ready
from rest_shim.request.reading import PRIORITY_HEADER, TIMEOUT_HEADER

ERRORS = {
    400: "The request contradicts itself or its picture cannot be read.",
    401: "The key is missing or wrong.",
    403: "The key may not do this, or not with this model.",
    404: "No such model, or no such picture any more.",
    406: "The reply cannot be had in the form that Accept names.",
    408: "The body did not come in time.",
    409: "The weights of the model are not on the server.",
    413: "The body or the reply is too large.",
    415: "The body is not JSON, or packed in another way than gzip or deflate.",
    429: "Too many requests; see Retry-After.",
    499: "The call was cancelled.",
    500: "A defect of the server, or a request that ended two of its workers.",
    503: "The server is not ready; see Retry-After.",
    504: "It took too long.",
}
EXPOSED = (
    "X-Request-Id",
    TRACERESPONSE,
    SERVICE_HEADER,
    TIMING_HEADER,
    *HEADERS.values(),
    *RAW_FACTS,
    "Retry-After",
    REASON_HEADER,
)


TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds after which the caller no longer waits; the server gives up then, with 504.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
PRIORITY_PARAMETER = {
    "name": PRIORITY_HEADER,
    "in": "header",
    "required": False,
    "description": "Of what one API key has waiting the highest comes first; nothing changes beside other keys.",
    "schema": {"type": "integer", "minimum": priorities.LEAST, "maximum": priorities.MOST, "default": 0},
}


def application(family: RestPort, terms: Terms, cors_origins: tuple[str, ...], counter: Counter) -> PortApp:
    """The documented paths of one family, with /health and /docs; its requests are counted."""
    app = PortApp(family, title=f"featsvc: {family.title}", version="1", openapi_url=None)
    add_page(app, terms.documented_key)
    known = KnownModels(family.name, terms.gateway)
    # Asked for at the first request, when all of them are there.
    paths = cache(lambda: frozenset(each.path for each in app.routes if isinstance(each, Route)))
    app.router.redirect_slashes = False
    app.add_middleware(Envelope, counter=counter, paths=paths, tracer=terms.tracer)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    for endpoint in family.endpoints:
        _add(app, family, Transcoder(endpoint, terms))
        if endpoint.dry_run is not None:
            _add(app, family, Transcoder(endpoint.dry_run, terms))

    @app.get(
        "/health",
        summary="State of the server",
        operation_id="health",
        tags=[family.name],
        response_model=Health,
        responses={503: {"model": Health, "description": "No worker lives."}},
    )
    async def state() -> Response:
        found = await health(family.name, terms.gateway, counter)
        status = 200 if found.status == "healthy" else 503
        # The documented fields alone, unless there is something to say beyond them.
        body = found.model_dump(exclude={name for name in ("problems", "gpus") if not getattr(found, name)})
        return Response(orjson.dumps(body), status, media_type="application/json")

    @app.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether this port should get requests",
        response_model=Ready,
        responses={503: {"model": Problem, "description": "Not at the moment; `detail` says why."}},
    )
    async def readiness() -> Response:
        reason = await why_not_ready(family, terms.gateway)
        return HttpError(503, reason).response() if reason else JSONResponse({"status": "ready"})

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        content = app.document(await known.now(), request.scope.get("root_path", ""))
        return Response(content, media_type="application/json")

    return app


def _add(app: FastAPI, family: RestPort, transcoder: Transcoder) -> None:
    endpoint, terms = transcoder.endpoint, transcoder.terms

    class Transcoded(APIRoute):
        """Documented as any route, but answered by the transcoder: FastAPI would parse bodies on the event loop."""

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] not in (self.methods or ()):
                await super().handle(scope, receive, send)
                return
            request = Request(scope, receive)
            await (await transcoder.answer(request))(scope, receive, send)

    async def documented(body: object) -> None:
        """Stands for the signature only."""

    documented.__annotations__["body"] = endpoint.body
    documented.__doc__ = endpoint.body.__doc__
    app.router.add_api_route(
        endpoint.path,
        documented,
        methods=["POST"],
        summary=endpoint.summary,
        operation_id=endpoint.name,
        tags=[family.name],
        response_model=endpoint.reply,
        responses={
            200: success(endpoint),
            **{status: {"model": Problem, "description": reason} for status, reason in ERRORS.items()},
            422: {"model": FieldProblems, "description": "Fields that are wrong."},
        },
        openapi_extra={"parameters": [TIMEOUT_PARAMETER, PRIORITY_PARAMETER]},
        dependencies=[Security(HTTPBearer(auto_error=False, description=_about_key(terms)))],
        route_class_override=Transcoded,
    )


def _about_key(terms: Terms) -> str:
    if terms.documented_key:
        return f"A key of the server: `{terms.documented_key}` on this machine, which is filled in already."
    return "A key of the server, as whoever started it chose it by --api-key or --api-key-file."
