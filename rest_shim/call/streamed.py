"""A response that is sent as it is made, and no faster than its caller takes it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import grpc
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rest_shim.call.leaving import Departure

log = logging.getLogger("rest_shim.requests")


class Streamed(Response):
    """Pieces of a body of known length; starlette's own would watch the caller once more."""

    def __init__(
        self, pieces: AsyncGenerator[bytes], length: int, departure: Departure, headers: Mapping[str, str]
    ) -> None:
        self.status_code = 200
        self.background = None
        self._pieces = pieces
        self._departure = departure
        self.init_headers({**headers, "Content-Length": str(length)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the body; where the gateway breaks off, so does the connection, which shows that bytes are missing."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._pieces):
                async for piece in self._pieces:
                    # uvicorn waits here while its buffer is full, and forgets what is sent to a caller that has left.
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    self._departure.check()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientDisconnect:
            log.info("the caller has left")
        except grpc.aio.AioRpcError as error:
            facts = {"code": error.code().name, "reason": error.details()}
            log.warning("a reply broke off", extra=facts)
        finally:
            self._departure.end()
