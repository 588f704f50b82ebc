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
    "NotAllowed",
    "OutOfMemory",
    "Overloaded",
    "PictureNotFound",
    "ReplyTooLarge",
    "RequestTooLarge",
    "ServerError",
    "TooLarge",
    "Unavailable",
    "WeightsMissing",
]


NOT_FOUND = "NOT_FOUND"
EXHAUSTED = "RESOURCE_EXHAUSTED"
"""The status of a server that has no place now; with a reason beside it, of what is too large for it at any time."""
REQUEST_TOO_LARGE, REPLY_TOO_LARGE, OUT_OF_MEMORY = "request-too-large", "reply-too-large", "out-of-memory"
"""Reasons as the server calls them."""
NOT_GRPC = "not-grpc"
"""The reason of a failed call to what is no gRPC server."""
LONGER = "give a longer timeout, or ask for less, such as a smaller picture (load_size)"


@dataclass(frozen=True)
class Failure:
    """What an answer says about a failed call, in the words of neither transport."""

    code: str
    """Name of the gRPC status."""
    message: str
    request_id: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None
    reason: str = ""
    """The server's word for what no other try will mend, such as `reply-too-large`; else empty."""

    @property
    def picture_unknown(self) -> bool:
        """Whether the server does not have (any more) the picture that was named by its digest."""
        return self.code == NOT_FOUND and any(each.field.endswith("image.digest") for each in self.violations)

    def error(self) -> CallError:
        """The exception for it."""
        # Of what is not found the server names a field only where that holds a picture's digest.
        if self.code == NOT_FOUND and self.violations:
            return PictureNotFound(self)
        if self.reason and self.code == EXHAUSTED:
            return BY_REASON.get(self.reason, TooLarge)(self)
        return BY_CODE.get(self.code, ServerError)(self)


class CallError(FeatsvcError):
    """A call that failed. `request_id` finds it in the server's log.

    `reason` is set where the same request will fail again, whatever the status, and is not to be sent again.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.request_id = failure.request_id
        self.reason = failure.reason

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


class NotAllowed(CallError):
    """The API key is right, and may not do this, or not with this model."""

    code: ClassVar[str] = "PERMISSION_DENIED"


class ModelNotFound(CallError):
    """The server knows no such model."""

    code: ClassVar[str] = NOT_FOUND


class PictureNotFound(CallError):
    """The server has no (more) pictures of these digests: send the files. `violations` names their fields."""

    code: ClassVar[str] = NOT_FOUND

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """Each field, with its digest; of very many the first."""
        return self.failure.violations


class WeightsMissing(CallError):
    """The server knows the model, but its weights are not on its machine and cannot be fetched."""

    code: ClassVar[str] = "FAILED_PRECONDITION"


class Overloaded(CallError):
    """The server has no place for the request now."""

    code: ClassVar[str] = EXHAUSTED

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server expects to have a place, where it says so."""
        return self.failure.retry_after_s


class TooLarge(CallError):
    """What was asked is over a limit of the server, now and later; the message says what would fit."""

    code: ClassVar[str] = EXHAUSTED


class RequestTooLarge(TooLarge):
    """The request has more bytes than the server takes: send a smaller picture, or fewer things at once."""


class ReplyTooLarge(TooLarge):
    """The answer would have more bytes than the server gives: ask for less, or for a smaller element type."""


class OutOfMemory(TooLarge):
    """The work needs more memory than the server's device has."""


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
    "PERMISSION_DENIED": NotAllowed,
    NOT_FOUND: ModelNotFound,
    "FAILED_PRECONDITION": WeightsMissing,
    EXHAUSTED: Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}

BY_REASON: Mapping[str, type[TooLarge]] = {
    REQUEST_TOO_LARGE: RequestTooLarge,
    REPLY_TOO_LARGE: ReplyTooLarge,
    OUT_OF_MEMORY: OutOfMemory,
}


def invalid(*violations: FieldViolation) -> InvalidRequest:
    """The error for fields that the client itself finds wrong."""
    message = "; ".join(f"{each.field}: {each.message}" for each in violations)
    return InvalidRequest(Failure(InvalidRequest.code, message, violations=violations))


def damaged(what: str) -> ServerError:
    """The error for an answer that cannot be read."""
    return ServerError(Failure(ServerError.code, f"the answer cannot be read: {what}"))
