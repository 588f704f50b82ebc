"""What can go wrong with a call: the same classes over gRPC and REST, each with the server's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from featsvc.errors import FeatsvcError, FieldViolation

__all__ = [
    "AuthenticationError",
    "CallError",
    "DeadlineExceeded",
    "FeatsvcError",
    "FieldViolation",
    "InvalidRequest",
    "ModelNotFound",
    "Overloaded",
    "PictureNotFound",
    "ReplyTooLarge",
    "ServerError",
    "Unavailable",
    "WeightsMissing",
]


@dataclass(frozen=True)
class Failure:
    """What an answer says about a failed call, in the words of neither transport."""

    code: str
    """Name of the gRPC status."""
    message: str
    request_id: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None
    too_large: bool = False
    """Whether a message is over a size limit or its work over the device's memory, which another try will not mend."""

    @property
    def picture_unknown(self) -> bool:
        """Whether the server does not have (any more) the picture that was named by its digest."""
        return self.code == "NOT_FOUND" and any(
            each.field.endswith("image.digest") for each in self.violations
        )

    def error(self) -> CallError:
        """The exception for it."""
        if self.too_large:
            return ReplyTooLarge(self)
        if self.picture_unknown:
            return PictureNotFound(self)
        return BY_CODE.get(self.code, ServerError)(self)


class CallError(FeatsvcError):
    """A call that failed. `request_id` finds it in the server's log."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.request_id = failure.request_id

    def __reduce__(self) -> tuple[type[CallError], tuple[Failure]]:
        return type(self), (self.failure,)


class InvalidRequest(CallError, ValueError):
    """The request is wrong; `violations` names the bad fields where server or client know them."""

    code: ClassVar[str] = "INVALID_ARGUMENT"

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The bad fields, each with what is wrong."""
        return self.failure.violations


class AuthenticationError(CallError):
    """The API key is missing or wrong."""

    code: ClassVar[str] = "UNAUTHENTICATED"


class ModelNotFound(CallError):
    """The server knows no such model."""

    code: ClassVar[str] = "NOT_FOUND"


class PictureNotFound(CallError):
    """The server has no (more) picture of this digest: send the file."""

    code: ClassVar[str] = "NOT_FOUND"


class WeightsMissing(CallError):
    """The server knows the model, but its weights are not on its machine and cannot be fetched."""

    code: ClassVar[str] = "FAILED_PRECONDITION"


class Overloaded(CallError):
    """The server has no place for the request now."""

    code: ClassVar[str] = "RESOURCE_EXHAUSTED"

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server expects to have a place, where it says so."""
        return self.failure.retry_after_s


class ReplyTooLarge(CallError):
    """The answer, the request or the memory they need is over the server's limit; the message says what would fit."""

    code: ClassVar[str] = "RESOURCE_EXHAUSTED"


class Unavailable(CallError):
    """No server answers at this address, or it cannot take work now."""

    code: ClassVar[str] = "UNAVAILABLE"


class DeadlineExceeded(CallError):
    """The time for the call is over."""

    code: ClassVar[str] = "DEADLINE_EXCEEDED"


class ServerError(CallError):
    """A defect of the server, or an answer that this client does not understand."""

    code: ClassVar[str] = "INTERNAL"


BY_CODE: Mapping[str, type[CallError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": AuthenticationError,
    "NOT_FOUND": ModelNotFound,
    "FAILED_PRECONDITION": WeightsMissing,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


def invalid(*violations: FieldViolation) -> InvalidRequest:
    """The error for fields that the client itself finds wrong."""
    message = "; ".join(f"{each.field}: {each.message}" for each in violations)
    return InvalidRequest(Failure(InvalidRequest.code, message, violations=violations))


def damaged(what: str) -> ServerError:
    """The error for an answer that cannot be read."""
    return ServerError(Failure(ServerError.code, f"the answer cannot be read: {what}"))
