"""Pictures that were sent lately, by their digests, so that a further question need not send them again."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, defaultdict
from dataclasses import dataclass

# Up to here hashing takes less time than handing it to a thread.
SMALL = 256 * 1024
# What Python keeps of an entry beside its content: without this, a limit of bytes would not limit tiny pictures.
OVERHEAD = 512


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its name, "sha256:…"."""

    content: bytes
    digest: str


async def named(content: bytes) -> Picture:
    """The picture with its digest."""
    return Picture(
        content, await asyncio.to_thread(_digest, content) if len(content) > SMALL else _digest(content)
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Counts:
    """What has become of the questions that a store was asked."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class PictureStore:
    """Pictures of callers, each caller's out of reach of the others; those longest unused go first.

    A caller has at most `max_caller_bytes`, all together at most `max_bytes`; 0 in either keeps nothing.
    """

    def __init__(self, max_bytes: int, max_caller_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.counts = Counts()
        self._max_caller_bytes = min(max_bytes, max_caller_bytes)
        self._order: OrderedDict[tuple[str, str], Picture] = OrderedDict()  # longest unused first
        self._of: defaultdict[str, OrderedDict[str, Picture]] = defaultdict(OrderedDict)
        self._caller_bytes: defaultdict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._order)

    def find(self, caller: str, digest: str) -> Picture | None:
        """The picture, if this caller has sent it and it is still here."""
        found = self._order.get((caller, digest))
        if found is None:
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        self._touch(caller, digest)
        return found

    def keep(self, caller: str, picture: Picture) -> None:
        """Keeps a picture for its caller, unless it is larger than all that may be kept."""
        if (caller, picture.digest) in self._order:
            self._touch(caller, picture.digest)
            return
        cost = _cost(picture)
        if cost > self._max_caller_bytes:
            return
        while self._caller_bytes[caller] + cost > self._max_caller_bytes:
            self._evict(caller, next(iter(self._of[caller])))
        while self.nbytes + cost > self.max_bytes:
            self._evict(*next(iter(self._order)))
        self._order[caller, picture.digest] = self._of[caller][picture.digest] = picture
        self._caller_bytes[caller] += cost
        self.nbytes += cost

    def _touch(self, caller: str, digest: str) -> None:
        self._order.move_to_end((caller, digest))
        self._of[caller].move_to_end(digest)

    def _evict(self, caller: str, digest: str) -> None:
        cost = _cost(self._order.pop((caller, digest)))
        del self._of[caller][digest]
        self._caller_bytes[caller] -= cost
        self.nbytes -= cost
        self.counts.evictions += 1


def _cost(picture: Picture) -> int:
    return len(picture.content) + OVERHEAD
