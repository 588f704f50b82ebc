"""Entry of a worker process: `python -m featsvc.pool.worker FD`, FD being its end of a socket pair."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
from typing import Any

from featsvc.errors import FeatsvcError
from featsvc.pool.messages import Boot, FromWorker, Outcome
from featsvc.pool.wire import Unsendable, receive, send
from featsvc.pool.worker.pipeline import Pipeline

log = logging.getLogger("featsvc.pool.worker")

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Link:
    """The worker's end of the socket. A thread writes, for a large result must not hold up the device."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._outbox: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
        threading.Thread(target=self._send_all, name="send", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        """Send in the background."""
        self._outbox.put(message)

    def receive_all(self, pipeline: Pipeline) -> None:
        """Feed the pipeline; ends the process with the parent."""
        try:
            while True:
                pipeline.put(receive(self._socket))
        except (EOFError, ConnectionError):
            os._exit(0)
        except BaseException:  # a message that cannot be read: what follows it cannot be trusted
            log.exception("unreadable message")
            os._exit(1)

    def _send_all(self) -> None:
        while True:
            message = self._outbox.get()
            try:
                self._send(message)
            except ConnectionError:
                os._exit(0)
            except BaseException:  # the pool waits for this message, so it must learn that none will come
                log.exception("a message cannot be sent")
                os._exit(1)
            del message  # its arrays must not wait for the next message

    def _send(self, message: FromWorker) -> None:
        try:
            send(self._socket, message)
        except Unsendable:
            if not isinstance(message, Outcome):
                raise
            log.exception("a result cannot be sent")
            error = FeatsvcError("the result cannot be sent; the server's log says why")
            send(self._socket, Outcome(message.item, error=error))


def _named(path: str) -> Any:  # Any: whatever the import path names
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _die_with_parent() -> None:
    """Have the kernel kill this process with its parent, even while it hangs in native code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Build the engines and work until the parent is gone."""
    # Ctrl-C and `systemctl stop` reach the whole group; the parent decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with_parent()
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    boot: Boot = receive(sock)
    _named(boot.log_setup)(boot.log_level)
    try:
        engines = _named(boot.engines)(boot.engine_options)
    except Exception:  # whatever the engines' libraries raise when they cannot start here
        log.exception("the engines cannot be built", extra={"worker": boot.worker, "device": boot.device})
        sys.exit(1)
    link = Link(sock)
    pipeline = Pipeline(engines, boot, link.send)
    threading.Thread(target=link.receive_all, args=(pipeline,), name="receive", daemon=True).start()
    pipeline.run()


if __name__ == "__main__":
    main()
