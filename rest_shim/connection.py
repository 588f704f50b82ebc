"""One caller's HTTP/1.1 connection: uvicorn's, which reads by httptools, with an end to everything it holds.

An offer to switch to another protocol (`Upgrade: h2c`, as JDK's client and `curl --http2` make) is passed over, as
RFC 9110 has it: llhttp would stop at such a head, and its body would be read as the next request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from featsvc.wrong_keys import network_of
from rest_shim import exchange
from rest_shim.crowd import CLOSING_S, SENDING_S, Crowd
from rest_shim.errors import NO_MEMORY
from rest_shim.exchange import HEAD_END, Cycle, Flow, Place, Refusal, unreadable

log = logging.getLogger("rest_shim.connections")
# The end of a chunked body is not known before it is read: in so small steps, few requests come with it.
CHUNKED_STEP = 1024
# A caller that sends a body nobody wants reads our answer only when it is through; then it must be, or be cut off.
DRAINING_S = 10.0


class Connection(HttpToolsProtocol):
    """A connection that reads one request at a time, each within limits."""

    cycle: Cycle

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: Crowd,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd, self._limits, self.peer = crowd, crowd.limits, ""
        self._data, self._at = b"", 0
        self._before = b""
        """The last bytes that were read before these: the end of a head may come in two pieces."""
        self._place = Place.BETWEEN
        self._body_left: int | None = None
        """Bytes that the body still has; None where only its chunks tell."""
        self._head_bytes = 0
        self._fruitless = 0
        """Bytes since the last that led anywhere: an end of headers, a byte of a body, an end of a message."""
        self._drained = 0
        self._refusal: Refusal | None = None
        self._running: Cycle | None = None
        self._ending = False
        self._since = 0.0
        self._deadline: float | None = None
        self._write_paused_since: float | None = None
        self._closing_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow: Flow = Flow(transport)
        self.peer = network_of(self.client[0]) if self.client else ""
        self._wait(self._limits.header_timeout)
        if not self._crowd.join(self):
            self._answer(503, self._crowd.refusal(self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._data, self._at = b"", 0
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnected = True  # uvicorn tells the newest alone, which may wait behind it
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._drain(len(data))
            return
        try:
            self._data = self._data[self._at :] + data if self._data else data
            self._at = 0
            self._parse()
        except MemoryError:
            self._refuse(Refusal(503, NO_MEMORY))

    def pause_writing(self) -> None:
        self._write_paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_paused_since = None
        super().resume_writing()

    @property
    def is_known(self) -> bool:
        """Whether it has asked anything yet."""
        return self.cycle is not None

    @property
    def idle_since(self) -> float | None:
        """When it began to wait for a request, the rest of a head or, all being said, its end, if it does."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return None if busy else self._since

    def check(self, now: float) -> None:
        """Ends the connection where it has taken too long over what it does."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > CLOSING_S:
                self.transport.abort()
        elif self._write_paused_since is not None and now - self._write_paused_since > SENDING_S:
            log.info("a caller did not take its answer", extra={"peer": self.peer})
            self.transport.abort()
        elif self._deadline is not None and now > self._deadline:
            if self._place is Place.HEAD and not self._ending:
                self._answer(408, f"the headers took longer than {self._limits.header_timeout:g} s")
            else:
                self.transport.close()

    # Reading.

    def _parse(self) -> None:
        """Reads what there is, up to the end of one request; the next waits until that is answered."""
        while self._at < len(self._data) and self.parser is not None and not self._ending:
            if self._place is Place.BETWEEN and self.idle_since is None:
                self.flow.holding = True
                self.flow.pause_reading()
                return
            end = self._step_end()
            piece = self._data if (self._at, end) == (0, len(self._data)) else self._data[self._at : end]
            self._at = end
            self._before = (self._before + piece[-len(HEAD_END) :])[1 - len(HEAD_END) :]
            self._fruitless += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as stopped:
                self._at = end - len(piece) + stopped.args[0]
                self._pass_over_offer()
            except httptools.HttpParserError as error:
                self._refuse(self._refusal or unreadable(error))
            if self._fruitless > self._limits.header_bytes:
                self._refuse(exchange.too_large(self._place, self._limits.header_bytes))
        if self._at >= len(self._data):
            self._data, self._at = b"", 0
        if self.flow.holding:
            self.flow.holding = False
            self.flow.resume_reading()

    def _step_end(self) -> int:
        """As far as one request surely does not reach into the next."""
        if self._place is Place.BODY:
            step = CHUNKED_STEP if self._body_left is None else self._body_left
            return min(self._at + step, len(self._data))
        return exchange.head_end(self._before, self._data, self._at)

    def _pass_over_offer(self) -> None:
        """Reads the same head again, without the offer to speak another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(Refusal(405, "CONNECT is not served"))
            return
        head = exchange.without_offer(method + b" " + self.url, self.parser.get_http_version(), self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or unreadable(error))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._place, self._body_left, self._head_bytes = Place.HEAD, None, 0
        if self.idle_since is not None:
            self._wait(self._limits.header_timeout)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self.url) > self._limits.header_bytes:
            self._refusal = exchange.too_large(self._place, self._limits.header_bytes)
            raise self._refusal
        if self._place is Place.BODY:
            # Trailers: nobody has asked for any, and the headers are in use.
            return
        super().on_header(name, value)
        if self.headers[-1][0] == b"content-length":
            self._body_left = int(value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._place, self._head_bytes, self._fruitless, self._deadline = Place.BODY, 0, 0, None
        version = self.parser.get_http_version()
        self.scope["method"], self.scope["http_version"] = self.parser.get_method().decode("ascii"), version
        self.scope.update(exchange.located(self.url, self.root_path))  # type: ignore[typeddict-item]
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        if self._body_left is not None:
            self._body_left -= len(body)
        if self.cycle.response_complete:
            self._drain(len(body))
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._place, self._fruitless = Place.BETWEEN, 0
        if self.cycle.response_complete:
            self._wait(self._limits.keep_alive)
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.cycle.lingers or (self._ending and not self.pipeline):
            self._linger()
            return
        if self._place is Place.BODY:
            self._drained = 0
            self._wait(DRAINING_S)
        else:
            # The head of the next one may have begun to come with the end of a chunked body.
            limits = self._limits
            self._wait(limits.header_timeout if self._place is Place.HEAD else limits.keep_alive)
        if self.pipeline:
            self._deadline = None
            self._start_asgi_task(*self.pipeline.pop())
        self.flow.resume_reading()
        self._parse()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # Any: as uvicorn has it
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # Ending.

    def _wait(self, seconds: float) -> None:
        self._since = self.loop.time()
        self._deadline = self._since + seconds

    def _refuse(self, refusal: Refusal) -> None:
        """Answers what cannot be read; whatever follows it cannot be read either."""
        if self._ending or self.transport.is_closing():
            return
        log.info("a request was refused", extra={"peer": self.peer, "status": refusal.status})
        running = self.cycle is not None and not self.cycle.response_complete
        if not running and self._place is Place.BODY:
            # It is answered already, and what is wrong is in what was thrown away.
            self._linger()
        elif running and (self.pipeline or self._place is not Place.BODY):
            # Those before it are answered; then the connection closes.
            self._ending, self._deadline = True, None
            if self._place is Place.BODY:
                self.pipeline.popleft()
            else:
                self.cycle.keep_alive, self.cycle.is_last = False, True
        elif running and self.cycle.response_started:
            self.transport.abort()
        else:
            if running:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self._answer(refusal.status, refusal.detail)

    def _answer(self, status: int, detail: str) -> None:
        """An answer that no application makes, and the end of the connection."""
        self._crowd.refused[status] += 1
        self.transport.write(exchange.answer(status, detail, self.server_state.default_headers))
        self._linger()

    def _linger(self) -> None:
        """Ends our side, and the other when it has read that: closed at once, it might lose what we said."""
        self._ending, self._drained, self._data, self._at = True, 0, b"", 0
        self.flow.holding = False
        self.flow.resume_reading()
        self._wait(DRAINING_S)
        self.transport.write_eof()

    def _drain(self, count: int) -> None:
        self._drained += count
        if self._drained > self._limits.drained_bytes:
            self.transport.abort()
