"""How large the messages of each caller were lately: what finds no place need not be received."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from featsvc.server.calls.call import Call
from featsvc.work.caller import Caller

# What is less is received before it is judged.
LARGE = 256 * 1024
# So long does the last message say how large the next one will be.
LATELY_S = 10.0
MOST_KINDS = 1024


class MessageSizes:
    """The last large message of each caller and method. `check_room` raises Overloaded where bytes find no place."""

    def __init__(self, check_room: Callable[[Caller, int], None] | None) -> None:
        self._check_room = check_room
        self._last: OrderedDict[tuple[str, str], tuple[int, float]] = (
            OrderedDict()
        )  # size and time, the latest last
        self._receiving: Counter[str] = Counter()  # expected bytes of each caller

    @contextmanager
    def receiving(self, call: Call, expected: int) -> Iterator[None]:
        """While a call receives so much; raises Overloaded where that, and what its others receive, finds no place."""
        name = call.caller.name
        if self._check_room is not None:
            self._check_room(call.caller, self._receiving[name] + expected)
        self._receiving[name] += expected
        try:
            yield
        finally:
            self._receiving[name] -= expected
            if not self._receiving[name]:
                del self._receiving[name]

    def note(self, call: Call, nbytes: int) -> None:
        """A message has come."""
        key = call.caller.name, call.method
        if nbytes <= LARGE:
            if self._last:
                self._last.pop(key, None)
            return
        self._last[key] = nbytes, time.monotonic()
        self._last.move_to_end(key)
        if len(self._last) > MOST_KINDS:
            self._last.popitem(last=False)

    def expected(self, call: Call) -> int:
        """The bytes of a message that is expected to be large; 0 of others."""
        if not self._last or not call.caller.name:
            return 0
        nbytes, at = self._last.get((call.caller.name, call.method), (0, 0.0))
        return nbytes if time.monotonic() - at < LATELY_S else 0
