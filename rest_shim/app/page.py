"""The port of the page: the page of the browser, and the applications of the three families below it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import orjson
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featsvc.v1 import image_pb2
from rest_shim.app.endpoints import FAMILIES, PAGE
from rest_shim.app.envelope import Envelope
from rest_shim.app.health import Counter
from rest_shim.app.ports import application
from rest_shim.app.transcoder import Terms
from rest_shim.call.calls import ask
from rest_shim.call.streamed import Streamed
from rest_shim.errors import CALLER_LEFT, HttpError, http_error
from rest_shim.reply.blobs import whole
from rest_shim.reply.encode import HEADERS as FACTS

FILES = Path(__file__).parents[1] / "page"
"""What `make web` has built of clients/web."""
# Nothing inline and nothing from elsewhere; a picture that was opened is a blob.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GET_IMAGE = image_pb2.DESCRIPTOR.services_by_name["ImageService"].methods_by_name["GetImage"]
# What browsers say of a request that a page of another origin makes, or a link in it. Others say nothing of it.
ELSEWHERE = ("cross-site", "same-site")
# Each is held whole until its caller has read it; the page asks for one after the other.
PICTURES_AT_ONCE = 4
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
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
    """ASGI middleware that puts the headers of the page on every answer that has none of its own by that name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                further = (each for each in HEADERS if each[0] not in own)
                message = {**message, "headers": [*message["headers"], *further]}
            await send(message)

        await self._app(scope, receive, headed)


class FewOfEach:
    """ASGI middleware that answers each caller few requests at once, until their answers have been read."""

    def __init__(self, app: ASGIApp, terms: Terms) -> None:
        self._app, self._terms = app, terms
        self._open: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            with self._place("=".join(self._terms.identity(Request(scope))[0])):
                await self._app(scope, receive, send)
        except HttpError as error:
            await error.response()(scope, receive, send)

    @contextmanager
    def _place(self, whose: str) -> Iterator[None]:
        if self._open.get(whose, 0) >= PICTURES_AT_ONCE:
            raise HttpError(
                429,
                f"{PICTURES_AT_ONCE} pictures are on their way to this key, which is the most: read them first",
                {"Retry-After": "1"},
            )
        self._open[whose] += 1
        try:
            yield
        finally:
            self._open[whose] -= 1
            if not self._open[whose]:
                del self._open[whose]


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

    async def docs(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path.rpartition('/')[2]}/docs")

    routes = [
        Route("/", start),
        Route("/page.json", described),
        Route("/state.json", _told(terms, _state)),
        Route("/picture", _told(terms, _picture), middleware=[Middleware(FewOfEach, terms)]),
        *(Route(f"/{family}", docs) for family in FAMILIES),
        *(Mount(f"/{folder}", StaticFiles(directory=FILES / folder)) for folder in ("assets", "pictures")),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    paths = cache(lambda: frozenset(each.path for each in routes if isinstance(each, Route)))
    return Envelope(Guarded(app), counter, paths, terms.tracer)


def _told(
    terms: Terms, answer: Callable[[Terms, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """What the gateway answers the page of this origin, or why it does not; no copy of it is kept."""

    async def response(request: Request) -> Response:
        try:
            # A certificate may stand for a key, and browsers show it whoever has them ask.
            if request.headers.get("sec-fetch-site") in ELSEWHERE:
                raise HttpError(403, "a page of another origin may not ask this")
            return await answer(terms, request)
        except HttpError as error:
            return error.response()
        except ClientDisconnect:
            return HttpError(CALLER_LEFT, "the caller has left").response()

    async def told(request: Request) -> Response:
        told = await response(request)
        told.headers["cache-control"] = "private, no-store"
        return told

    return told


@asynccontextmanager
async def _refusals(terms: Terms, request: Request) -> AsyncIterator[None]:
    """Raises what the gateway refuses as HttpError, when it is time to tell it."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        refusal = http_error(error)
        await terms.hold(refusal, request)
        raise refusal from error


async def _state(terms: Terms, request: Request) -> Response:
    """What the server tells this caller of itself and its models, as protobuf's JSON; raises HttpError."""
    async with _refusals(terms, request):
        status, models = await terms.gateway.state_for(terms.identity(request))
    told = {
        name: MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, message in (("status", status), ("models", models))
    }
    return Response(orjson.dumps(told), media_type="application/json")


async def _picture(terms: Terms, request: Request) -> Response:
    """The picture at `url`, which the gateway fetches: browsers ask nobody but this server. Raises HttpError."""
    image = image_pb2.Image(url=request.query_params.get("url", ""))
    asked = image_pb2.GetImageRequest(image=image).SerializeToString()
    called = ask(terms.gateway, GET_IMAGE, asked, terms.identity(request), request, None)
    try:
        async with _refusals(terms, request):
            found: Any = await called.reply()  # Any: made at run time
    except BaseException:
        called.departure.end()
        raise
    content: bytes = found.content
    headers = {"Content-Type": found.media_type, FACTS["image_digest"]: found.image_digest}
    # What is sent in one piece counts as sent at once, whether or not it is read.
    return Streamed(_blocks(content), len(content), called.departure, headers)


async def _blocks(content: bytes) -> AsyncGenerator[bytes]:
    for block in whole(content).made():
        yield bytes(block)
