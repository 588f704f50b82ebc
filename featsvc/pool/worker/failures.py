"""What an exception of an engine becomes for the caller."""

from __future__ import annotations

import logging
import pickle

from featsvc.errors import FeatsvcError, is_out_of_memory

log = logging.getLogger("featsvc.pool.worker")


def is_device_lost(error: Exception) -> bool:
    """Whether nothing will run on this device any more in this process, as after an illegal memory access."""
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


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


def _survives_the_wire(error: FeatsvcError) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's own class does wrong
        return False
    return True
