"""The port of the page: the page of the browser, and the applications of the three families below it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import grpc
import orjson
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rest_shim.app.endpoints import FAMILIES, PAGE
from rest_shim.app.envelope import Envelope
from rest_shim.app.health import Counter
from rest_shim.app.ports import application
from rest_shim.app.transcoder import Terms
from rest_shim.errors import HttpError, http_error

FILES = Path(__file__).parents[1] / "page"
"""What `make web` has built of clients/web."""
# Nothing inline and nothing from elsewhere; a picture that was opened is a blob.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    # The files keep their names from release to release: a browser asks whether its copy is still right.
    (b"cache-control", b"no-cache"),
)


class PagePort:
    """The application of the page's port: `/clip`, `/dino` and `/sam2` are the families', all else is the page's."""

    def __init__(self, page: ASGIApp, families: Mapping[str, ASGIApp]) -> None:
        self._page, self._families = page, families

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        root = scope.get("root_path", "")
        name, slash, _ = str(scope["path"]).removeprefix(f"{root}/").partition("/")
        if not slash or name not in self._families:
            await self._page(scope, receive, send)
            return
        await self._families[name]({**scope, "root_path": f"{root}/{name}"}, receive, send)


class Guarded:
    """ASGI middleware that puts the headers of the page on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self._app(scope, receive, headed)


def applied(ports: Collection[str]) -> Collection[str]:
    """The applications that these ports need: the page has those of all families below it."""
    return (PAGE, *FAMILIES) if PAGE in ports else ports


def applications(
    counters: Mapping[str, Counter], terms: Terms, cors_origins: tuple[str, ...]
) -> Mapping[str, ASGIApp]:
    """The application of each name, with the counter of its requests; the page shares those of the families."""
    apps: dict[str, ASGIApp] = {
        name: application(FAMILIES[name], terms, cors_origins, counter)
        for name, counter in counters.items()
        if name != PAGE
    }
    if PAGE in counters:
        apps[PAGE] = PagePort(_page(terms, counters[PAGE]), dict(apps))
    return apps


def _page(terms: Terms, counter: Counter) -> ASGIApp:
    about = orjson.dumps(
        {
            "documented_key": terms.documented_key,
            "max_request_bytes": terms.limits.max_bytes,
            "grpc_port": terms.grpc_port,
        }
    )

    async def start(_: Request) -> Response:
        return FileResponse(FILES / "index.html")

    async def described(_: Request) -> Response:
        return Response(about, media_type="application/json")

    async def state(request: Request) -> Response:
        try:
            return Response(orjson.dumps(await _state(terms, request)), media_type="application/json")
        except HttpError as error:
            return error.response()

    async def docs(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path.rpartition('/')[2]}/docs")

    routes = [
        Route("/", start),
        Route("/page.json", described),
        Route("/state.json", state),
        *(Route(f"/{family}", docs) for family in FAMILIES),
        *(Mount(f"/{folder}", StaticFiles(directory=FILES / folder)) for folder in ("assets", "pictures")),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    paths = cache(lambda: frozenset(each.path for each in routes if isinstance(each, Route)))
    return Envelope(Guarded(app), counter, paths, terms.tracer)


async def _state(terms: Terms, request: Request) -> dict[str, object]:
    """What the server tells this caller of itself and its models, as protobuf's JSON; raises HttpError."""
    try:
        status, models = await terms.gateway.state_for(terms.identity(request))
    except grpc.aio.AioRpcError as error:
        refusal = http_error(error)
        await terms.hold(refusal, request)
        raise refusal from error
    return {
        name: MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, message in (("status", status), ("models", models))
    }
