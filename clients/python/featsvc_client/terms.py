"""What a caller says of a call beside its question."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.codec import priority as priorities
from featsvc.errors import FieldViolation
from featsvc_client.errors import invalid


@dataclass(frozen=True)
class Terms:
    """How long a call may take, and how urgent it is; raises InvalidRequest where the latter is none."""

    timeout_s: float | None = None
    """None for the time of the client."""
    priority: int = 0
    """Beside others with the same key."""

    def __post_init__(self) -> None:
        if priorities.read(str(self.priority)) is None:
            raise invalid(FieldViolation("priority", f"{self.priority!r} is not {priorities.MEANING}"))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What the call carries for it."""
        return ((priorities.HEADER, str(self.priority)),) if self.priority else ()


USUAL = Terms()
