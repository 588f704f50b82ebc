"""Which pictures the server has been sent lately, so that a next question about one needs only its name."""

from __future__ import annotations

import threading
from collections import OrderedDict

from featsvc_client.pictures import Picture

# Below this a picture is sent as quickly as its name, and the server may soon have forgotten it.
SMALLEST = 64 * 1024
# What a server keeps for one key unless it is told otherwise; to believe in more would cost questions in vain.
MAX_BYTES = 64 * 1024 * 1024


class SentPictures:
    """Names of the pictures that the server has confirmed, the one longest unused given up first; for threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._nbytes = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, picture: Picture | None) -> str:
        """The digest to send instead of the file; empty where the file must be sent."""
        if picture is None or not self._worth(picture):
            return ""
        digest = picture.digest
        with self._lock:
            if digest not in self._sizes:
                return ""
            self._sizes.move_to_end(digest)
            return digest

    def confirm(self, picture: Picture | None, digest: str) -> None:
        """Takes note that an answer about the picture named it so; a server without a store names none."""
        if picture is None or not self._worth(picture) or digest != picture.digest:
            return
        with self._lock:
            self._nbytes += len(picture.content) - self._sizes.pop(digest, 0)
            self._sizes[digest] = len(picture.content)
            while self._nbytes > self._max_bytes:
                self._nbytes -= self._sizes.popitem(last=False)[1]

    def forget(self, digest: str) -> None:
        """Takes note that the server has given it up."""
        with self._lock:
            self._nbytes -= self._sizes.pop(digest, 0)

    def _worth(self, picture: Picture) -> bool:
        return SMALLEST <= len(picture.content) <= self._max_bytes
