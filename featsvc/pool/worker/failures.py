"""What an exception in a worker becomes: of an engine an error for the caller, of a thread the end of the worker."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from typing import ParamSpec

from featsvc.errors import FeatsvcError, cuda_error_code
from featsvc.pool.contract.messages import FromWorker, Outcome, no_room
from featsvc.pool.transport.descriptors import is_no_room

log = logging.getLogger("featsvc.pool.worker")
P = ParamSpec("P")


LOST = {
    46: "busy or unavailable",
    214: "uncorrectable ECC error",
    700: "an illegal memory access was encountered",
    702: "the launch timed out and was terminated",
    709: "context is destroyed",
    710: "device-side assert triggered",
    714: "hardware stack error",
    715: "an illegal instruction was encountered",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    999: "unknown error",
}
"""Errors of CUDA after which nothing runs in this process any more, by their numbers in driver_types.h."""


def is_device_lost(error: Exception) -> bool:
    """Whether nothing will run on this device any more in this process, as after an illegal memory access.

    Where the device is lost and an error says something else, the next one says so.
    """
    code = cuda_error_code(error)
    if code is not None:
        return code in LOST
    text = str(error)
    return (
        isinstance(error, RuntimeError)
        and "CUDA error" in text
        and any(each in text for each in LOST.values())
    )


def end_if_lost(error: Exception) -> None:
    """Ends the process where the device is lost: another takes over, and what was in flight is tried again."""
    if is_device_lost(error):
        log.critical("the device is lost: this worker ends, and another takes over", exc_info=error)
        logging.shutdown()
        os._exit(1)


def for_caller(error: Exception, request_id: str, doing: str) -> FeatsvcError:
    """A domain error as it is; of anything else the caller learns nothing, and the log everything."""
    if isinstance(error, FeatsvcError) and _survives_the_wire(error):
        return error
    log.error("%s failed", doing, exc_info=error, extra={"request_id": request_id})
    return FeatsvcError(
        f"{doing} failed; the server's log says why, under request id {request_id or 'unknown'}"
    )


def without_frames(error: FeatsvcError) -> FeatsvcError:
    """The error for the caller alone: its traceback holds pictures and arrays, in a cycle with who holds the error."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def unsent(message: FromWorker, error: Exception) -> Outcome:
    """What the pool gets in place of a result that cannot be sent. Raises TypeError where it is no result."""
    if not isinstance(message, Outcome):
        raise TypeError(f"a message of {type(message).__name__} cannot be packed") from error
    log.error("a result cannot be sent", exc_info=error)
    told = FeatsvcError("the result cannot be sent; the server's log says why")
    return Outcome(message.item, error=no_room() if is_no_room(error) else told, timing=message.timing)


def _survives_the_wire(error: FeatsvcError) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's own class does wrong
        return False
    return True


def or_end(act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """What a thread would swallow ends the worker instead: the pool then retries its items elsewhere."""
    try:
        act(*args, **kwargs)
    except BaseException:  # a defect of this package, whatever it is
        log.exception("a thread of the worker failed: the worker ends")
        os._exit(1)
