"""Pictures that were sent lately, by their digests, so that a further question need not send them again."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from featsvc.work.caller import Caller

# Up to here hashing takes less time than handing it to a thread.
HASHED_AT_ONCE_BYTES = 256 * 1024
# What Python keeps of an entry beside its content: without this, a limit of bytes would not limit tiny pictures.
OVERHEAD = 512
# Twice as many as the workers of eight GPUs have embeddings of by default. Of more, a caller is not told that an answer
# was there.
MOST_ANSWERED = 1024


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its name, "sha256:…"."""

    content: bytes
    digest: str


async def named(content: bytes) -> Picture:
    """The picture with its digest."""
    return Picture(
        content,
        await asyncio.to_thread(_digest, content)
        if len(content) > HASHED_AT_ONCE_BYTES
        else _digest(content),
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class StoreCounts:
    """What has become of the questions that a store was asked."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class PictureStore:
    """Pictures of callers, each caller's out of reach of the others; those longest unused go first.

    A caller has at most what its limits say, all together at most `max_bytes`; 0 in either keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.counts = StoreCounts()
        self._order: OrderedDict[tuple[str, str], Picture] = OrderedDict()  # longest unused first
        self._of: defaultdict[str, OrderedDict[str, Picture]] = defaultdict(OrderedDict)
        self._caller_bytes: defaultdict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._order)

    def find(self, caller: Caller, digest: str) -> Picture | None:
        """The picture, if this caller has sent it and it is still here."""
        found = self._order.get((caller.name, digest))
        if found is None:
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        self._touch(caller.name, digest)
        return found

    def keep(self, caller: Caller, picture: Picture) -> None:
        """Keeps a picture for its caller, unless it is larger than all that may be kept."""
        name = caller.name
        if (name, picture.digest) in self._order:
            self._touch(name, picture.digest)
            return
        cost, most = _cost(picture), min(self.max_bytes, caller.limits.image_cache_per_key)
        if cost > most:
            return
        while self._caller_bytes[name] + cost > most:
            self._evict(name, next(iter(self._of[name])))
        while self.nbytes + cost > self.max_bytes:
            self._evict(*next(iter(self._order)))
        self._order[name, picture.digest] = self._of[name][picture.digest] = picture
        self._caller_bytes[name] += cost
        self.nbytes += cost

    def forget(self, name: str) -> None:
        """Gives up all pictures of the caller of this name, who has no key any more."""
        for digest in list(self._of.pop(name, ())):
            self.nbytes -= _cost(self._order.pop((name, digest)))
        self._caller_bytes.pop(name, None)

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


class Answered:
    """What each caller has had answers about lately, so that it hears nothing of what the others ask."""

    def __init__(self, most: int = MOST_ANSWERED) -> None:
        self._most = most
        self._of: defaultdict[str, OrderedDict[Hashable, None]] = defaultdict(OrderedDict)  # the oldest first

    def knows(self, caller: Caller, picture_key: Hashable) -> bool:
        """Whether it has had one about this."""
        return picture_key in self._of[caller.name]

    def note(self, caller: Caller, picture_key: Hashable) -> None:
        """It has one now."""
        keys = self._of[caller.name]
        keys[picture_key] = None
        keys.move_to_end(picture_key)
        if len(keys) > self._most:
            keys.popitem(last=False)

    def forget(self, name: str) -> None:
        """Forgets the caller of this name, who has no key any more."""
        self._of.pop(name, None)
