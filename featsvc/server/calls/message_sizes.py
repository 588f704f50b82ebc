"""How large the messages of each caller were lately: what is expected to be large is received when there is room."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from featsvc.codec import shim_headers
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


class Expected(NamedTuple):
    """What is expected of a message that is not here yet."""

    nbytes: int
    may_be_small: bool = False
    """Its caller has sent such a one by the same method lately: a click on a picture beside others to come."""


@dataclass
class _Lately:
    """The messages of a caller and method."""

    nbytes: int
    """Of the last large one; each small one since then has halved it."""
    at: float
    """When the last large one came."""
    small_at: float = -inf
    """When the last small one came, after a large one."""


class MessageSizes:
    """The last large message of each caller and method."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], _Lately] = OrderedDict()  # by their last large ones

    def note(self, call: Call, nbytes: int) -> bool:
        """A message has come; whether it is a large one that will be queued."""
        key = call.caller.name, call.method
        if nbytes <= LARGE or call.method.startswith(QUEUE_NOTHING):
            if self._last and (lately := self._last.get(key)) is not None:
                lately.nbytes //= 2
                lately.small_at = time.monotonic()
            return False
        small_at = self._last[key].small_at if key in self._last else -inf
        self._last[key] = _Lately(nbytes, time.monotonic(), small_at)
        self._last.move_to_end(key)
        if len(self._last) > MOST_KINDS:
            self._last.popitem(last=False)
        return True

    @property
    def are_small(self) -> bool:
        """Whether nobody has sent a large one just now."""
        latest = next(reversed(self._last.values()), None)
        return latest is None or time.monotonic() - latest.at > JUST_NOW_S

    def expected(self, call: Call) -> Expected | None:
        """What is expected of a message that is expected to be large; None of others."""
        if not self._last or not call.caller.name:
            return None
        lately = self._last.get((call.caller.name, call.method))
        if lately is None or lately.nbytes <= LARGE:
            return None
        if (told := _told_bytes(call)) is not None:
            return Expected(told) if told > LARGE else None
        long_ago = time.monotonic() - LATELY_S
        return Expected(lately.nbytes, lately.small_at > long_ago) if lately.at > long_ago else None


def _told_bytes(call: Call) -> int | None:
    """How large a message is, where the REST shim says so over its own socket; None where nobody does."""
    told = call.metadata(shim_headers.BYTES) if call.is_relayed else ""
    return int(told) if told.isdecimal() else None
