"""How large the messages of each caller were lately: what finds no place need not be received."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile

from featsvc.server.calls.call import PROBES, Call
from featsvc.work.caller import Caller

# What is less is received before it is judged.
LARGE = 256 * 1024
# So long does the last message say how large the next one will be.
LATELY_S = 10.0
# So long may a call expect its message: one that stays silent would keep room from the others of its caller.
EXPECTED_S = 2.0
MOST_KINDS = 1024
# Their questions have no place in the queue, for whose room a large message is not received.
QUEUE_NOTHING = (
    *PROBES,
    "/featsvc.v1.EstimateService/",
    "/featsvc.v1.ImageService/",
    "/featsvc.v1.ModelService/",
)


class MessageSizes:
    """The last large message of each caller and method. `check_room` raises Overloaded where bytes find no place."""

    def __init__(self, check_room: Callable[[Caller, int], None] | None) -> None:
        self._check_room = check_room
        self._last: OrderedDict[tuple[str, str], tuple[int, float]] = (
            OrderedDict()
        )  # size and time, the latest last
        self._receiving: defaultdict[str, dict[Call, tuple[float, int]]] = defaultdict(
            dict
        )  # of each caller the calls, the latest last: since when, and how much

    @contextmanager
    def receiving(self, call: Call, expected: int) -> Iterator[None]:
        """While a call receives so much; raises Overloaded where that, and what its others receive, finds no place."""
        now, receiving = time.monotonic(), self._receiving[call.caller.name]
        try:
            if self._check_room is not None:
                self._check_room(call.caller, _expected_since(now - EXPECTED_S, receiving) + expected)
            receiving[call] = now, expected
            yield
        finally:
            receiving.pop(call, None)
            if not receiving:
                self._receiving.pop(call.caller.name, None)

    def note(self, call: Call, nbytes: int) -> None:
        """A message has come."""
        key = call.caller.name, call.method
        if nbytes <= LARGE or call.method.startswith(QUEUE_NOTHING):
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


def _expected_since(began: float, receiving: dict[Call, tuple[float, int]]) -> int:
    """The bytes that the later ones of these calls expect."""
    latest = takewhile(lambda each: each[0] > began, reversed(receiving.values()))
    return sum(nbytes for _, nbytes in latest)
