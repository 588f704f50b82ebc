"""How large the messages of each caller were lately: what is expected to be large is received when there is room."""

from __future__ import annotations

import time
from collections import OrderedDict

from featsvc.server.calls.call import PROBES, Call

# What is less is received before it is judged.
LARGE = 256 * 1024
# So long does the last message say how large the next one will be.
LATELY_S = 10.0
# Who sends large ones more often than this will use their memory again.
JUST_NOW_S = 2.0
MOST_KINDS = 1024
# Their questions have no place in the queue, for whose room a large message is not received.
QUEUE_NOTHING = (
    *PROBES,
    "/featsvc.v1.EstimateService/",
    "/featsvc.v1.ImageService/",
    "/featsvc.v1.ModelService/",
)


class MessageSizes:
    """The last large message of each caller and method."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], tuple[int, float]] = (
            OrderedDict()
        )  # size and time, the latest last

    def note(self, call: Call, nbytes: int) -> bool:
        """A message has come; whether it is a large one that will be queued."""
        key = call.caller.name, call.method
        if nbytes <= LARGE or call.method.startswith(QUEUE_NOTHING):
            if self._last:
                self._last.pop(key, None)
            return False
        self._last[key] = nbytes, time.monotonic()
        self._last.move_to_end(key)
        if len(self._last) > MOST_KINDS:
            self._last.popitem(last=False)
        return True

    @property
    def are_small(self) -> bool:
        """Whether nobody has sent a large one just now."""
        latest = next(reversed(self._last.values()), None)
        return latest is None or time.monotonic() - latest[1] > JUST_NOW_S

    def expected(self, call: Call) -> int:
        """The bytes of a message that is expected to be large; 0 of others."""
        if not self._last or not call.caller.name:
            return 0
        nbytes, at = self._last.get((call.caller.name, call.method), (0, 0.0))
        return nbytes if time.monotonic() - at < LATELY_S else 0
