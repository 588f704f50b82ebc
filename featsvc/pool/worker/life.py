"""The life of a worker, from its end of a socket pair on, whichever way its process came to be."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from featsvc.errors import FeatsvcError
from featsvc.logs import setup
from featsvc.pool.contract.messages import Boot, Refused
from featsvc.pool.transport.channel import Link
from featsvc.pool.worker.building import built
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.serving import end_with, link_to_pool, receive_all, send_all
from featsvc.processes import name_process

log = logging.getLogger("featsvc.pool.worker")

NAME = "featsvc-worker"
"""Of the process, as `ps -e` and `top` show it."""


def work(sock: socket.socket, records: Sequence[logging.LogRecord] = ()) -> None:
    """Build the engines and work until the pool is gone. Raises SystemExit where they cannot be built.

    `records` are what libraries have logged while they were imported, if nobody has written it yet.
    """
    name_process(NAME)
    link = link_to_pool(sock)
    boot: Boot = link.receive()[0]  # the only one before WorkerReady
    setup(boot.log_level, boot.log_format)
    for record in records:
        logging.getLogger(record.name).handle(record)
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


def _refuse(link: Link, error: FeatsvcError) -> NoReturn:
    """Says why this worker can never work here, and ends."""
    log.debug("the engines cannot be built: %s", error.message)
    link.post(Refused(error))
    link.end()
    link.send_all(lambda message, error: None)
    sys.exit(1)
