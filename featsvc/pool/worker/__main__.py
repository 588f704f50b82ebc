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
from typing import Any, NoReturn

from featsvc.errors import FeatsvcError, Unavailable
from featsvc.logs import setup
from featsvc.pool.contract.messages import Boot, FromWorker, Outcome, Refused, no_room
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import is_no_room
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.processes import address_space, leave_signals_to_parent

log = logging.getLogger("featsvc.pool.worker")

KEPT_PICTURE_BYTES = 64 << 20  # of shared memory in which pictures come
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _send_all(link: Link) -> None:
    """A thread's work: a large result must not hold up the device."""

    def on_unsendable(message: FromWorker, error: Exception) -> None:
        if not isinstance(message, Outcome):
            raise TypeError(f"a message of {type(message).__name__} cannot be packed") from error
        log.error("a result cannot be sent", exc_info=error)
        told = FeatsvcError("the result cannot be sent; the server's log says why")
        reason = no_room() if is_no_room(error) else told
        link.post(Outcome(message.item, error=reason, timing=message.timing))

    try:
        link.send_all(on_unsendable)
    except ConnectionError:
        os._exit(0)
    except BaseException:  # the pool waits for this message, so it must learn that none will come
        _end_with("a message cannot be sent")


def _end_with(reason: str) -> None:
    """End the process at once, but not before the log says why."""
    log.exception(reason)
    logging.shutdown()
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
        _end_with("unreadable message")


def _named(path: str) -> Any:  # Any: whatever the import path names
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _refuse(link: Link, error: FeatsvcError) -> NoReturn:
    """Says why this worker can never work here, and ends."""
    log.debug("the engines cannot be built: %s", error.message)
    link.post(Refused(error))
    link.end()
    link.send_all(lambda message, error: None)
    sys.exit(1)


def _no_addresses(room: int, error: Exception) -> Unavailable:
    return Unavailable(
        f"a worker may have {room >> 20} MiB of addresses (ulimit -v, LimitAS=), and its libraries do not fit: "
        f"{error}. Limit memory by a control group instead, which counts what is in use"
    )


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
    # Answers need no order among themselves.
    link = Link(sock, KEPT_PICTURE_BYTES, large_last=True)
    boot: Boot = link.receive()[0]  # the only one before WorkerReady
    setup(boot.log_level, boot.log_format)
    try:
        engines = _named(boot.engines)(boot.engine_options)
    except FeatsvcError as error:
        _refuse(link, error)
    except Exception as error:  # whatever the engines' libraries raise when they cannot start here
        if (room := address_space()) is not None:
            _refuse(link, _no_addresses(room, error))
        log.exception("the engines cannot be built", extra={"worker": boot.worker, "device": boot.device})
        sys.exit(1)
    pipeline = Pipeline(engines, boot, link.post)
    threading.Thread(target=_send_all, args=(link,), name="send", daemon=True).start()
    threading.Thread(target=_receive_all, args=(link, pipeline), name="receive", daemon=True).start()
    try:
        pipeline.run()
    except BaseException:  # a defect: an end in good order would wait for threads that download
        _end_with("the worker failed")


if __name__ == "__main__":
    main()
