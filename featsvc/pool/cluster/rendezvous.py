"""How an actor on the gateway's own node gets the link that a worker process has: a socket that both find by a name.

The name is in no file system: only who shares the gateway's kernel and network can connect, and nothing is left of it.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
import struct
from dataclasses import dataclass, field

log = logging.getLogger("featsvc.pool.cluster.rendezvous")

PEER = getattr(socket, "SO_PEERCRED", None)  # which Linux has, and names without files too
CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group
BACKLOG = 8
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Rendezvous:
    """What an actor is told; `token` is what it has to say first."""

    node_id: str
    name: bytes
    token: bytes = field(repr=False)


class Listener:
    """The gateway's end, for one actor. Raises OSError where there can be none."""

    def __init__(self, node_id: str) -> None:
        name = b"\0featsvc-" + secrets.token_hex(16).encode()
        self.rendezvous = Rendezvous(node_id, name, secrets.token_bytes(TOKEN_BYTES))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(name)
            self._socket.listen(BACKLOG)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def accepted(self) -> socket.socket | None:
        """The socket of the actor, once it has connected; None where nobody has said the token. Never waits."""
        while True:
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                return None
            try:
                if _is_ours(sock) and hmac.compare_digest(_first_bytes(sock), self.rendezvous.token):
                    return sock
            except OSError as error:
                log.debug("somebody has connected and left: %s", error)
            sock.close()

    def close(self) -> None:
        """Nobody can connect any more."""
        self._socket.close()


def connected(rendezvous: Rendezvous | None, node_id: str) -> socket.socket | None:
    """An actor's socket to the gateway, from this node; None where the gateway is not here. Never waits."""
    # Another node on the same machine may end without this one.
    if rendezvous is None or rendezvous.node_id != node_id:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(rendezvous.name)
        if _is_ours(sock):
            sock.send(rendezvous.token)
            sock.setblocking(True)
            return sock
        log.warning("the gateway runs as another user: large results go through Ray's object store")
    except OSError as error:  # other containers on this machine have networks of their own
        log.info("no socket leads to the gateway: large results go through Ray's object store: %s", error)
    sock.close()
    return None


def _is_ours(sock: socket.socket) -> bool:
    """Whether the process at the other end belongs to the same user."""
    if PEER is None:
        return False
    _, user, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, PEER, CREDENTIALS.size))
    return bool(user == os.geteuid())


def _first_bytes(sock: socket.socket) -> bytes:
    """What has come already: an actor says its token before the gateway hears of it."""
    return sock.recv(TOKEN_BYTES, socket.MSG_DONTWAIT)
