"""Domain errors: each knows the gRPC status it becomes, by name, so that engines can raise them without gRPC."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

NO_MEMORY = (
    "can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "Insufficient memory",
    "Failed to allocate",
    "bad_alloc",
    "can't start new thread",
    "Cannot allocate memory",
    # Of CUDA, its libraries and Metal, which ask for memory beside torch's allocator. A full card makes cuDNN say
    # INTERNAL_ERROR too.
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "MPS backend out of memory",
)
SPEAKERS = ("RuntimeError", "AcceleratorError", "error")
"""Classes of torch, OpenCV, the C++ library, and Python where there is no memory for a thread."""
CUDA_OUT_OF_MEMORY = 2  # driver_types.h
SOON_S = 1.0
"""When to try again where nobody knows when there will be a place."""


class FeatsvcError(Exception):
    """A failure whose message is written for the caller: it says what to do and names no path of the server."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class FieldViolation:
    """One bad field: its dotted path from the request, and what is wrong with it."""

    field: str
    message: str


class InvalidArgument(FeatsvcError):
    """The request is wrong in a way that another try will not mend."""

    code = "INVALID_ARGUMENT"


class NamesFields(FeatsvcError):
    """An error that says of which fields it is."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.message}" for each in violations))
        self.violations = tuple(violations)

    def __reduce__(self) -> tuple[type[NamesFields], tuple[tuple[FieldViolation, ...]]]:
        return type(self), (self.violations,)


class InvalidFields(NamesFields, InvalidArgument):
    """The request is wrong, and these are the fields to mend."""


def as_sent(*numbers: float) -> str:
    """Numbers with all digits that were sent, for a message: "799.0001, 1, 0.1"."""
    return ", ".join(repr(float(each)).removesuffix(".0") for each in numbers)


def invalid_field(field: str, message: str) -> InvalidFields:
    """The error for a single bad field."""
    return InvalidFields([FieldViolation(field, message)])


class Unauthenticated(FeatsvcError):
    """The key is missing or not one of the server's."""

    code = "UNAUTHENTICATED"


class Forbidden(FeatsvcError):
    """The key is one of the server's, and may not do this, or not with this model."""

    code = "PERMISSION_DENIED"


class NotFound(FeatsvcError):
    """No model of that name is in the catalog."""

    code = "NOT_FOUND"


class UnknownPicture(NamesFields, NotFound):
    """Digests name no pictures that the caller has sent lately: these fields hold them."""


class WeightsMissing(FeatsvcError):
    """The model is known, but its weights are not on this machine and cannot be fetched."""

    code = "FAILED_PRECONDITION"


class NoDevice(FeatsvcError):
    """The server is to work on a device that this machine does not have."""

    code = "FAILED_PRECONDITION"


class CannotCompile(FeatsvcError):
    """The server is to compile its models, and this machine lacks what that takes."""

    code = "FAILED_PRECONDITION"


class Overloaded(FeatsvcError):
    """Every queue place is taken; try again after `retry_after_ms`."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_ms: int = round(1000 * SOON_S)) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms

    @classmethod
    def within(cls, words: str, wait_s: float = SOON_S) -> Overloaded:
        """One that says in words, too, when to try again."""
        retry_after_ms = math.ceil(1000 * wait_s)
        return cls(words + _until(retry_after_ms), retry_after_ms)

    def told_after(self, seconds: float) -> Overloaded:
        """The same, told so much later: less is left to wait."""
        left_ms = max(1, self.retry_after_ms - round(1000 * seconds))
        words = self.message.replace(_until(self.retry_after_ms), _until(left_ms))
        return Overloaded(words, left_ms)

    def __reduce__(self) -> tuple[type[Overloaded], tuple[str, int]]:
        return type(self), (self.message, self.retry_after_ms)


def _until(retry_after_ms: int) -> str:
    return f": try again in {retry_after_ms / 1000:.1f} s"


class ReplyTooLarge(FeatsvcError):
    """The reply would exceed the message limit; the message names its exact size and what makes it fit."""

    code = "RESOURCE_EXHAUSTED"


class RequestTooLarge(FeatsvcError):
    """The request exceeds the message limit; the message names both."""

    code = "RESOURCE_EXHAUSTED"


class OutOfMemory(FeatsvcError):
    """The device has no memory for even this one item."""

    code = "RESOURCE_EXHAUSTED"


class Abandoned(FeatsvcError):
    """Nobody waits for the result any more."""

    code = "CANCELLED"


class ContentWanted(FeatsvcError):
    """A worker was sent the name of a content alone, and has nothing of it."""


class DeadlineExceeded(FeatsvcError):
    """The caller's deadline passed before the work was done."""

    code = "DEADLINE_EXCEEDED"


class KilledWorkers(FeatsvcError):
    """Two workers died of this request: another try would cost two more."""

    code = "INTERNAL"


class TookTooLong(FeatsvcError):
    """The request has had all the time that one may have at a worker: another try would not end sooner."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(FeatsvcError):
    """No worker can take this now, as while the server shuts down."""

    code = "UNAVAILABLE"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory; by name, so that torch need not be imported."""
    if isinstance(error, (MemoryError, OutOfMemory)) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if cuda_error_code(error) == CUDA_OUT_OF_MEMORY:
        return True
    return type(error).__name__ in SPEAKERS and any(word in str(error) for word in NO_MEMORY)


def cuda_error_code(error: BaseException) -> int | None:
    """The number that CUDA gives the error, where torch tells it: from 2.8 on."""
    code = getattr(error, "error_code", None) if type(error).__name__ == "AcceleratorError" else None
    return code if isinstance(code, int) else None
