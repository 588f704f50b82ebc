"""Connections with TLS: each has the certificate of its time, and counts among those of its port from the beginning.

asyncio's own servers have one certificate for ever, and tell of a connection only when it is through its handshake.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from featsvc.certificates import ServerCertificate
from featsvc.wrong_keys import network_of
from rest_shim.connection import Connection
from rest_shim.crowd import Crowd
from rest_shim.exchange import CERTIFICATE

log = logging.getLogger("rest_shim.connections")
# So many are taken before others have their turn.
MOST_AT_ONCE = 64
# Where there are no descriptors left, the next try is so much later.
PAUSE_S = 1.0


class Handshake:
    """A caller that has yet to agree on TLS, as the crowd sees it."""

    is_known = False

    def __init__(self, peer: str, now: float, patience_s: float) -> None:
        self.peer = peer
        self.idle_since = now
        self._patience_s = patience_s
        self.agreeing: asyncio.Task[None] | None = None

    @property
    def transport(self) -> Handshake:
        """What ends it."""
        return self

    def abort(self) -> None:
        """Ends it."""
        if self.agreeing is not None:
            self.agreeing.cancel()

    def check(self, now: float) -> None:
        """Ends it where it has taken too long."""
        if now - self.idle_since > self._patience_s:
            self.abort()


class SecureConnection(Connection):
    """A connection over TLS: its two directions end together, when both sides have said so."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        *,
        crowd: Crowd,
        handshake: Handshake,
    ) -> None:
        super().__init__(config, server_state, app_state, crowd=crowd)
        self._handshake = handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        # In its place: at once they would take two.
        self._crowd.leave(self._handshake)
        self._names = names_in(transport.get_extra_info("peercert"))
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CERTIFICATE: {"names": self._names}}

    def shutdown(self) -> None:
        """Ends it where nothing is under way: one whose caller does not read would take its time to agree."""
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _linger(self) -> None:
        # At its end it closes our direction, which TLS does not have: the caller has read that this was the last.
        with suppress(NotImplementedError):
            super()._linger()


def names_in(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names in a certificate, as ssl gives it, that may stand for a caller; none without a certificate.

    As the gateway has them of gRPC: the first common name, and the alternative names of the kind DNS.
    """
    found = certificate or {}
    common = [value for part in found.get("subject", ()) for kind, value in part if kind == "commonName"]
    return (*common[:1], *(value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"))


class SecureListener:
    """Takes callers from a listening socket, and makes connections of those that agree on TLS."""

    def __init__(
        self,
        listening: socket.socket,
        certificate: ServerCertificate,
        crowd: Crowd,
        connect: Callable[[Handshake], SecureConnection],
    ) -> None:
        self._listening, self._certificate = listening, certificate
        self._crowd, self._connect = crowd, connect
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[Handshake] = set()
        self._again: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Takes no more callers, and gives up on those that have not agreed yet."""
        self._loop.remove_reader(self._listening)
        if self._again is not None:
            self._again.cancel()
        for each in self._handshakes:
            each.abort()

    async def wait_closed(self) -> None:
        """Returns when those are given up."""
        agreeing = [each.agreeing for each in self._handshakes if each.agreeing is not None]
        await asyncio.gather(*agreeing, return_exceptions=True)

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                caller, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no caller can be taken at the moment: %s", error)
                self._loop.remove_reader(self._listening)
                self._again = self._loop.call_later(PAUSE_S, self._listen)
                return
            self._begin(caller, network_of(str(address[0])))

    def _begin(self, caller: socket.socket, peer: str) -> None:
        handshake = Handshake(peer, self._loop.time(), self._crowd.limits.header_timeout)
        if not self._crowd.join(handshake):
            # What it would be told, it could not read.
            self._crowd.leave(handshake)
            caller.close()
            return
        caller.setblocking(False)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handshakes.add(handshake)
        handshake.agreeing = self._loop.create_task(self._agree(caller, handshake))

    async def _agree(self, caller: socket.socket, handshake: Handshake) -> None:
        try:
            context = self._certificate.now().context
            await self._loop.connect_accepted_socket(lambda: self._connect(handshake), caller, ssl=context)
        except OSError as error:
            log.info("a caller has not agreed on TLS", extra={"peer": handshake.peer, "reason": str(error)})
        finally:
            self._crowd.leave(handshake)
            self._handshakes.discard(handshake)
