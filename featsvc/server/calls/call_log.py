"""One line of log for each call."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from featsvc.logs import lines
from featsvc.server.calls.call import PROBES, Call

log = logging.getLogger("featsvc.server.calls")
# Code that has just run is in the processor's caches: a line among others costs a fifth of one by itself.
TOGETHER_S = 0.05
MOST_TOGETHER = 64  # a few hundred microseconds


@dataclass(slots=True)
class _Ended:
    """What is told of a call that has ended."""

    at: float
    code: str
    ms: float
    method: str
    request_id: str
    bytes_in: int
    bytes_out: int
    messages: tuple[int, int]

    def told(self) -> dict[str, object]:
        """The fields of the line."""
        fields: dict[str, object] = {
            "request_id": self.request_id,
            "method": self.method,
            "code": self.code,
            "ms": round(self.ms, 1),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }
        if max(self.messages) > 1:
            fields |= {"messages_in": self.messages[0], "messages_out": self.messages[1]}
        return fields


class CallLog:
    """The observer that writes a line for each call. Lines go out a little later, several at once: a flood of refused
    calls must cost little, too.
    """

    def __init__(self) -> None:
        self._ended: list[_Ended] = []

    def on_start(self, call: Call) -> None:
        """Nothing is said before the end."""

    def on_end(self, call: Call, code: str) -> None:
        """Take note of a call that has ended."""
        if not log.isEnabledFor(logging.INFO):
            return
        if code in ("OK", "CANCELLED") and call.method.startswith(PROBES):
            return
        ms = 1000 * (time.monotonic() - call.began)
        messages = (call.messages_in, call.messages_out)
        self._ended.append(
            _Ended(
                time.time(), code, ms, call.method, call.request_id, call.bytes_in, call.bytes_out, messages
            )
        )
        if len(self._ended) >= MOST_TOGETHER:
            self.write()
        elif len(self._ended) == 1:
            asyncio.get_running_loop().call_later(TOGETHER_S, self.write)

    def write(self) -> None:
        """Write the lines that there are."""
        ended, self._ended = self._ended, []
        if ended:
            log.handle(lines(log.name, "call", [(each.at, each.told()) for each in ended]))
