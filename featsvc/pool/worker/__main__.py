"""Entry of a worker process: `python -m featsvc.pool.worker FD`, FD being its end of a socket pair."""

from __future__ import annotations

import ctypes
import logging
import signal
import socket
import sys
import threading
from typing import NoReturn

from featsvc.errors import FeatsvcError
from featsvc.logs import setup
from featsvc.pool.contract.messages import Boot, Refused
from featsvc.pool.transport.channel import Link
from featsvc.pool.worker.building import built
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.serving import end_with, link_to_pool, receive_all, send_all
from featsvc.processes import leave_signals_to_parent

log = logging.getLogger("featsvc.pool.worker")

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _refuse(link: Link, error: FeatsvcError) -> NoReturn:
    """Says why this worker can never work here, and ends."""
    log.debug("the engines cannot be built: %s", error.message)
    link.post(Refused(error))
    link.end()
    link.send_all(lambda message, error: None)
    sys.exit(1)


def _die_with_parent() -> None:
    """Have the kernel kill this process with its parent, even while it hangs in native code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Build the engines and work until the parent is gone."""
    leave_signals_to_parent()
    _die_with_parent()
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    link = link_to_pool(sock)
    boot: Boot = link.receive()[0]  # the only one before WorkerReady
    setup(boot.log_level, boot.log_format)
    try:
        engines = built(boot)
    except FeatsvcError as error:
        _refuse(link, error)
    except Exception:  # whatever the engines' libraries raise when they cannot start
        log.exception("the engines cannot be built", extra={"worker": boot.worker, "device": boot.device})
        sys.exit(1)
    pipeline = Pipeline(engines, boot, link.post)
    threading.Thread(target=send_all, args=(link,), name="send", daemon=True).start()
    threading.Thread(target=receive_all, args=(link, pipeline), name="receive", daemon=True).start()
    try:
        pipeline.run()
    except BaseException:  # a defect: an end in good order would wait for threads that download
        end_with("the worker failed")


if __name__ == "__main__":
    main()
