"""Around every request: its id, one line of log, and an answer where something broke."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rest_shim.errors import HttpError
from rest_shim.health import Counter

log = logging.getLogger("rest_shim.requests")
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Envelope:
    """ASGI middleware of one port; counts its requests."""

    def __init__(self, app: ASGIApp, counter: Counter) -> None:
        self._app = app
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] != "/health":
            self._counter.requests += 1
        asked = Headers(scope=scope).get("x-request-id", "")
        identity = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity
        began, status = time.monotonic(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except asyncio.CancelledError:
            # The server stops and this request took longer than its grace.
            if status == 0:
                await HttpError(503, "the server is shutting down").response()(scope, receive, stamped)
        except Exception as error:  # the process boundary: whatever went wrong, the caller gets an answer
            log.error("defect", extra={"request_id": identity}, exc_info=error)
            if status == 0:
                await HttpError(500, "defect").response(identity)(scope, receive, stamped)
        finally:
            took_ms = round((time.monotonic() - began) * 1000, 1)
            facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": took_ms}
            # Whoever watches over a server asks for its health all the time.
            level = logging.DEBUG if scope["path"] == "/health" else logging.INFO
            log.log(level, "request", extra={"request_id": identity, **facts})
