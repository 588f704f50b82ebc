"""The worker's end of a link: what it says goes out by one thread, what it hears comes in by another."""

from __future__ import annotations

import logging
import os
import socket
from typing import NoReturn

from featsvc.pool.contract.messages import FromWorker
from featsvc.pool.transport.channel import Link
from featsvc.pool.worker.failures import unsent
from featsvc.pool.worker.pipeline import Pipeline

log = logging.getLogger("featsvc.pool.worker.serving")

KEPT_PICTURE_BYTES = 64 << 20  # of shared memory in which pictures come


def link_to_pool(sock: socket.socket) -> Link:
    """The link over a socket whose other end the pool has."""
    # Answers need no order among themselves.
    return Link(sock, KEPT_PICTURE_BYTES, large_last=True)


def send_all(link: Link) -> None:
    """A thread's work: a large result must not hold up the device. Ends the process with the pool."""

    def on_unsendable(message: FromWorker, error: Exception) -> None:
        link.post(unsent(message, error))

    try:
        link.send_all(on_unsendable)
    except ConnectionError:
        os._exit(0)
    except BaseException:  # the pool waits for this message, so it must learn that none will come
        end_with("a message cannot be sent")


def receive_all(link: Link, pipeline: Pipeline) -> None:
    """A thread's work: feeds the pipeline, and ends the process with the pool."""
    try:
        while True:
            for message in link.receive():
                pipeline.put(message)
            del message  # its items must not wait for the next message
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:  # a message that cannot be read: what follows it cannot be trusted
        end_with("unreadable message")


def end_with(reason: str) -> NoReturn:
    """End the process at once, but not before the log says why."""
    log.exception(reason)
    logging.shutdown()
    os._exit(1)
