"""The FastAPI application of one port."""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from rest_shim import raw
from rest_shim.documentation import Port, success
from rest_shim.encode import HEADERS
from rest_shim.endpoints import Endpoint, Family
from rest_shim.envelope import Envelope
from rest_shim.health import Counter, health
from rest_shim.replies import FieldProblems, Health, Problem
from rest_shim.swagger import add_page
from rest_shim.transcoder import Terms, Transcoder

ERRORS = {
    400: "The request contradicts itself or its picture cannot be read.",
    401: "The key is missing or wrong.",
    404: "No such model, or no such picture any more.",
    406: "The reply cannot be had in the form that Accept names.",
    409: "The weights of the model are not on the server.",
    413: "The body or the reply is too large.",
    415: "The body is not JSON.",
    429: "Too many requests; see Retry-After.",
    499: "The call was cancelled.",
    500: "A defect of the server.",
    503: "The server is not ready; see Retry-After.",
    504: "It took too long.",
}
EXPOSED = ("X-Request-Id", *HEADERS.values(), *raw.HEADERS, "Retry-After")


def application(family: Family, terms: Terms, cors_origins: tuple[str, ...]) -> FastAPI:
    """The documented paths of one family, with /health and /docs."""
    app = Port(family, title=f"featsvc: {family.title}", version="1", docs_url=None, redoc_url=None)
    add_page(app)
    counter = Counter()
    app.add_middleware(Envelope, counter=counter)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
    for endpoint in family.endpoints:
        _add(app, endpoint, terms)

    @app.get(
        "/health",
        summary="State of the server",
        response_model=Health,
        responses={503: {"model": Health, "description": "No worker lives."}},
    )
    async def state() -> Response:
        found = await health(family.name, terms.gateway, counter)
        status = 200 if found.status == "healthy" else 503
        return Response(orjson.dumps(found.model_dump()), status, media_type="application/json")

    return app


def _add(app: FastAPI, endpoint: Endpoint, terms: Terms) -> None:
    transcoder = Transcoder(endpoint, terms)

    class Route(APIRoute):
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
        response_model=endpoint.reply,
        responses={
            200: success(endpoint),
            **{status: {"model": Problem, "description": reason} for status, reason in ERRORS.items()},
            422: {"model": FieldProblems, "description": "Fields that are wrong."},
        },
        dependencies=[Security(HTTPBearer(auto_error=False, description="An API key of the server."))],
        route_class_override=Route,
    )
