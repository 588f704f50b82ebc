"""What is worth keeping between requests, within a limit of bytes; the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class CacheStats:
    """A cache at one moment, and what has become of all that was ever asked of it."""

    name: str
    hits: int
    misses: int
    """Values that had to be made."""
    evictions: int
    entries: int
    nbytes: int
    max_bytes: int
    """0 is a cache that keeps nothing."""


class ByteCache(Generic[K, V]):
    """Values by key; any thread may ask. Who holds a value keeps it, whatever becomes of its entry."""

    def __init__(
        self, name: str, max_bytes: int, nbytes: Callable[[V], int], *, is_on_host: bool = False
    ) -> None:
        """`is_on_host` says that its values are in the host's memory, whatever the device is."""
        self.is_on_host = is_on_host
        self._name = name
        self._max_bytes = max_bytes
        self._nbytes_of = nbytes
        self._entries: OrderedDict[K, V] = OrderedDict()  # least recently used first
        self._nbytes = self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def find(self, key: K) -> V | None:
        """The value, if it is here: a hit. A miss counts only when the value has been made (`put`)."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._hits += 1
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Keep a value that was not here, unless it is larger than all that may be kept."""
        nbytes = self._nbytes_of(value)
        with self._lock:
            self._misses += 1
            self._drop(key)
            if nbytes > self._max_bytes:
                return
            while self._nbytes + nbytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
                self._evictions += 1
            self._entries[key] = value
            self._nbytes += nbytes

    def clear(self) -> int:
        """Let go of everything; returns how many bytes that were."""
        with self._lock:
            freed = self._nbytes
            self._evictions += len(self._entries)
            self._entries.clear()
            self._nbytes = 0
            return freed

    def stats(self) -> CacheStats:
        """The cache now."""
        with self._lock:
            return CacheStats(
                name=self._name,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                entries=len(self._entries),
                nbytes=self._nbytes,
                max_bytes=self._max_bytes,
            )

    def _drop(self, key: K) -> None:
        value = self._entries.pop(key, None)
        if value is not None:
            self._nbytes -= self._nbytes_of(value)
