"""Where `featsvc up` lets its REST shim reach the gateway: nobody else can, so neither TLS nor a port is needed."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("featsvc.server.commands.own_address")
# Bytes of a Unix socket's path on macOS; Linux has four more.
LONGEST_PATH = 103
LOOPBACK = "127.0.0.1:0"


@contextmanager
def own_address() -> Iterator[str]:
    """A Unix socket in a folder that only this user may open, as gRPC names it; the folder goes with the context.

    A free port of loopback where there are no such sockets, no folder can be made, or its path is too long. Others can
    reach that: what the shim says of its callers is not believed over it.
    """
    folder = _own_folder()
    if folder is None:
        log.warning(
            "REST reaches gRPC by loopback and not by a socket of its own: addresses and certificates of its callers "
            "are not known to gRPC; TMPDIR names a folder for the socket"
        )
        yield LOOPBACK
        return
    with folder as path:
        yield _socket_in(path)


def _own_folder() -> tempfile.TemporaryDirectory[str] | None:
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        folder = tempfile.TemporaryDirectory(prefix="featsvc-", ignore_cleanup_errors=True)
    except OSError as error:
        log.warning("no folder for the socket between REST and gRPC: %s", error)
        return None
    if len(os.fsencode(_socket_in(folder.name))) > len("unix:") + LONGEST_PATH:
        folder.cleanup()
        return None
    return folder


def _socket_in(folder: str) -> str:
    return f"unix:{folder}/grpc"
