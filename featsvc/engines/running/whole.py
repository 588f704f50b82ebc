"""Whole pictures that wait in pinned memory for a GPU: as many as there is room for, as CPUs bring others to size."""

from __future__ import annotations

import threading
import weakref

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.running.colours import COLOURS
from featsvc.engines.running.transfer import pinned

MOST_WAITING_BYTES = 1 << 29
"""Of a process, between their preparation and their computation: 64 pictures of 1920 x 1080 pixels."""


class PinnedRoom:
    """How much of pinned memory is taken by tensors that somebody holds. torch keeps what it once took for others."""

    def __init__(self) -> None:
        # One that is let go by the garbage collector may be so while this thread is here.
        self._lock = threading.RLock()
        self._taken_bytes = 0

    def takes(self, nbytes: int) -> bool:
        """Whether so many have room, and have it now."""
        with self._lock:
            if self._taken_bytes + nbytes > MOST_WAITING_BYTES:
                return False
            self._taken_bytes += nbytes
            return True

    def leave(self, nbytes: int) -> None:
        """Gives room back."""
        with self._lock:
            self._taken_bytes -= nbytes


ROOM = PinnedRoom()
"""Of this process, as pinned memory is."""


def whole_picture(picture: Image, device: torch.device) -> Tensor | None:
    """Its bytes 3 x H x W for a GPU, in pinned memory that counts until nobody holds them; None without room."""
    # torch takes powers of two.
    nbytes = 1 << (COLOURS * picture.width * picture.height - 1).bit_length()
    if not ROOM.takes(nbytes):
        return None
    try:
        pixels = pinned(TF.pil_to_tensor(picture), device)
    except BaseException:
        ROOM.leave(nbytes)
        raise
    weakref.finalize(pixels, ROOM.leave, nbytes).atexit = False
    return pixels
