"""Around every request: its id, one line of log, and an answer where something broke."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featsvc.errors import is_out_of_memory
from featsvc.request_ids import is_right, own_ids, request_id
from featsvc.tracing import TRACEPARENT, TRACERESPONSE, Facts, Trace, Tracer
from rest_shim.app.health import Counter
from rest_shim.errors import CALLER_LEFT, HttpError, out_of_memory
from rest_shim.exchange import ASKED

log = logging.getLogger("rest_shim.requests")
LEAST_REFUSAL, DEFECT = 400, 500
PROBES = frozenset(("/health", "/readyz"))


class Envelope:
    """ASGI middleware of one port; counts its requests."""

    def __init__(
        self, app: ASGIApp, counter: Counter, paths: Callable[[], Collection[str]], tracer: Tracer | None
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._counter = counter
        self._own_ids = own_ids()
        self._paths = paths
        """The paths that there are: one with a slash behind it is answered with where it is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_probe = _path(scope) in PROBES
        if not is_probe:
            self._counter.requests += 1
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        identity = asked if is_right(asked) else next(self._own_ids)
        request_id.set(identity)
        began, status = time.monotonic(), 0
        trace = None if is_probe else self._traced(scope, headers, began)

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identity
                if trace is not None and trace.is_kept:
                    MutableHeaders(scope=message)[TRACERESPONSE] = trace.traceparent
            await send(message)

        try:
            await self._answered(scope)(scope, receive, stamped)
        except asyncio.CancelledError:
            # The server stops and this request took longer than its grace.
            if status == 0:
                await HttpError(503, "the server is shutting down").response()(scope, receive, stamped)
        except Exception as error:  # the process boundary: whatever went wrong, the caller gets an answer
            no_memory = is_out_of_memory(error)
            log.error("no memory" if no_memory else "defect", exc_info=error)
            if status == 0:
                answer = out_of_memory() if no_memory else HttpError(500, "defect")
                await answer.response()(scope, receive, stamped)
        finally:
            is_refusal = status >= LEAST_REFUSAL and status != CALLER_LEFT
            if is_refusal and not is_probe and not scope.get(ASKED):
                self._counter.refused[status] += 1
            took_ms = round((time.monotonic() - began) * 1000, 1)
            facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": took_ms}
            # Whoever watches over a server asks for its health all the time.
            level = logging.DEBUG if is_probe else logging.INFO
            log.log(level, "request", extra=facts)
            if trace is not None:
                told: Facts = {"http.response.status_code": status, "featsvc.request_id": identity}
                trace.end(told, str(status) if status >= DEFECT else "")

    def _traced(self, scope: Scope, headers: Headers, began: float) -> Trace | None:
        if self._tracer is None:
            return None
        # Of paths that nobody serves no two need be alike.
        path = _path(scope) if _path(scope) in self._paths() else ""
        facts = {"http.request.method": scope["method"], "http.route": path}
        name = f"{scope['method']} {path}".rstrip()
        return self._tracer.begin(name, headers.get(TRACEPARENT, ""), began, facts, is_known=False)

    def _answered(self, scope: Scope) -> ASGIApp:
        path = _path(scope)
        if len(path) > 1 and path.endswith("/") and path[:-1] in self._paths():
            # Relative, so that the scheme, the host and the prefix of a proxy before us hold on.
            query = scope["query_string"].decode("latin-1")
            target = f"..{path[:-1]}" + (f"?{query}" if query else "")
            return Response(status_code=307, headers={"Location": target})
        return self._app if scope["method"] != "HEAD" else self._as_get

    async def _as_get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers HEAD: the server leaves the body out."""
        await self._app({**scope, "method": "GET"}, receive, send)


def _path(scope: Scope) -> str:
    """The path below a proxy's prefix, which some proxies take off and others leave on."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
