"""How much pinned memory of a kind is in use: no other process has it, and the system cannot swap it out."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from torch import Tensor


class PinnedRoom:
    """Room of tensors in pinned memory, each as long as anything holds its bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.taken_bytes = 0
        # Bytes that are let go by the garbage collector may be so while this thread is here.
        self._lock = threading.RLock()

    def filled(self, nbytes: int, make: Callable[[], Tensor]) -> Tensor | None:
        """The tensor of so many bytes that `make` brings into pinned memory; None without room. Never waits."""
        # torch takes powers of two.
        nbytes = 1 << max(nbytes - 1, 0).bit_length()
        if not self._takes(nbytes):
            return None
        try:
            tensor = make()
        except BaseException:
            self._leave(nbytes)
            raise
        # Not of the tensor: arrays and views of it hold its bytes alone.
        weakref.finalize(tensor.untyped_storage(), self._leave, nbytes).atexit = False
        return tensor

    def _takes(self, nbytes: int) -> bool:
        with self._lock:
            if self.taken_bytes + nbytes > self.most_bytes:
                return False
            self.taken_bytes += nbytes
            return True

    def _leave(self, nbytes: int) -> None:
        with self._lock:
            self.taken_bytes -= nbytes
