"""Entry of a worker process: `python -m featsvc.pool.worker FD`, FD being its end of a socket pair."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any

from featsvc.errors import FeatsvcError
from featsvc.pool.messages import Boot, FromWorker, Outcome
from featsvc.pool.wire import Link
from featsvc.pool.worker.pipeline import Pipeline

log = logging.getLogger("featsvc.pool.worker")

KEPT_BYTES = 64 << 20  # of shared memory in which pictures come
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _send_all(link: Link) -> None:
    """A thread's work: a large result must not hold up the device."""

    def on_unsendable(message: FromWorker) -> None:
        if not isinstance(message, Outcome):
            raise TypeError(f"a message of {type(message).__name__} cannot be packed")
        log.exception("a result cannot be sent")
        error = FeatsvcError("the result cannot be sent; the server's log says why")
        link.post(Outcome(message.item, error=error))

    try:
        link.send_all(on_unsendable)
    except ConnectionError:
        os._exit(0)
    except BaseException:  # the pool waits for this message, so it must learn that none will come
        log.exception("a message cannot be sent")
        os._exit(1)


def _receive_all(link: Link, pipeline: Pipeline) -> None:
    """A thread's work: feeds the pipeline, and ends the process with the parent."""
    try:
        while True:
            for message in link.receive():
                pipeline.put(message)
            del message  # its items must not wait for the next message
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:  # a message that cannot be read: what follows it cannot be trusted
        log.exception("unreadable message")
        os._exit(1)


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
    # Answers need no order among themselves.
    link = Link(sock, KEPT_BYTES, large_last=True)
    boot: Boot = link.receive()[0]  # the only one before Ready
    _named(boot.log_setup)(boot.log_level)
    try:
        engines = _named(boot.engines)(boot.engine_options)
    except Exception:  # whatever the engines' libraries raise when they cannot start here
        log.exception("the engines cannot be built", extra={"worker": boot.worker, "device": boot.device})
        sys.exit(1)
    pipeline = Pipeline(engines, boot, link.post)
    threading.Thread(target=_send_all, args=(link,), name="send", daemon=True).start()
    threading.Thread(target=_receive_all, args=(link, pipeline), name="receive", daemon=True).start()
    pipeline.run()


if __name__ == "__main__":
    main()
