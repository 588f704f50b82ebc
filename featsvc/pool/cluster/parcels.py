"""Messages as Ray carries them: pickled once, with what is large beside it.

Ray keeps an array in the object store of its node, and whoever reads it there reads it in place.
"""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featsvc.pool.transport.frames import LARGE_BYTES, Packed

KEPT_BYTES = 128 << 20
"""Of pictures in the object store, for workers that are asked about them next."""


class StoredPictures:
    """Pictures in the object store: what is sent again, to whichever worker, reaches each machine once. Any thread."""

    def __init__(self, put: Callable[[Any], Any], max_bytes: int = KEPT_BYTES) -> None:
        self._put = put
        self._max_bytes = max_bytes
        self.nbytes = 0
        # By identity: who asks again by digest has the same object, and to hash megabytes takes a while.
        self._kept: OrderedDict[int, tuple[bytes, Any]] = OrderedDict()  # Any: a reference of Ray
        self._lock = threading.Lock()

    def stored(self, picture: bytes) -> Any:  # Any: as above
        """The reference of a picture."""
        with self._lock:
            if id(picture) in self._kept:
                self._kept.move_to_end(id(picture))
                return self._kept[id(picture)][1]
        reference = self._put(np.frombuffer(picture, np.uint8))
        with self._lock:
            if id(picture) not in self._kept:
                self._kept[id(picture)] = picture, reference
                self.nbytes += len(picture)
            while self.nbytes > self._max_bytes:
                _, (oldest, _) = self._kept.popitem(last=False)
                self.nbytes -= len(oldest)
        return reference


@dataclass(frozen=True)
class Parcel:
    """A message; `parts` are first those of the pickle stream, then the large buffers beside it."""

    stream_parts: int
    parts: tuple[Any, ...]  # Any: bytes, arrays, or what stands for an array in the object store

    @classmethod
    def of(cls, message: Packed, stored: Callable[[bytes], Any] | None = None) -> Parcel:
        """A packed message. `stored` puts a large part of its stream, such as a picture, where it stays for others."""
        buffers = [np.frombuffer(each, np.uint8) for each in message.buffers]
        if not message.is_large or stored is None:
            return cls(1, (b"".join(message.parts), *buffers))
        stream = [part if len(part) < LARGE_BYTES else stored(part) for part in message.parts]
        return cls(len(stream), (*stream, *buffers))

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (self.stream_parts, self.parts)


def message_of(stream_parts: int, parts: Sequence[Any]) -> Any:  # Any: whatever was packed
    """The message again; its arrays are read-only views of the parts."""
    stream = parts[0] if stream_parts == 1 else b"".join(parts[:stream_parts])
    return pickle.loads(stream, buffers=[memoryview(each) for each in parts[stream_parts:]])
