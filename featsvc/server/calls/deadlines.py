"""Until when a request may take: its caller's own deadline, or a limit of ours."""

from __future__ import annotations

import time
from dataclasses import dataclass

from featsvc.errors import DeadlineExceeded
from featsvc.server.calls.call import Call


@dataclass(frozen=True)
class Deadlines:
    """The limits of time, as they are set."""

    request_timeout_s: float
    """Of a request whose caller sets no deadline."""
    max_request_timeout_s: float

    def of(self, call: Call) -> float:
        """Until when the question of a call may take, by time.monotonic; what it has waited unread counts."""
        came_at = time.monotonic() - call.unread_s
        if call.deadline is None:
            return came_at + self.request_timeout_s
        return min(call.deadline, came_at + self.max_request_timeout_s)

    def refusal(self, call: Call, due: float | None, advice: str = "") -> DeadlineExceeded | None:
        """What the caller is told when that time is over; None where it is the caller's own deadline."""
        if call.deadline is None:
            return DeadlineExceeded(
                f"the request took longer than {self.request_timeout_s:g} s, which it may where the caller sets no "
                f"deadline (--request-timeout): set one, of {self.max_request_timeout_s:g} s at most{advice}"
            )
        if due == call.deadline:
            return None
        return DeadlineExceeded(
            f"the request took longer than {self.max_request_timeout_s:g} s, the most that a caller may ask for "
            f"(--max-request-timeout){advice}"
        )
