"""Whole pictures that wait in pinned memory for a GPU: as many as there is room for, as CPUs bring others to size."""

from __future__ import annotations

import torch
import torchvision.transforms.functional as TF
from PIL.Image import Image
from torch import Tensor

from featsvc.engines.running.colours import COLOURS
from featsvc.engines.running.pinned_room import PinnedRoom
from featsvc.engines.running.transfer import pinned

ROOM = PinnedRoom(1 << 29)
"""Of this process, as pinned memory is, between preparation and computation: 64 pictures of 1920 x 1080 pixels."""


def whole_picture(picture: Image, device: torch.device) -> Tensor | None:
    """Its bytes 3 x H x W for a GPU, in pinned memory that counts until nobody holds them; None without room."""
    nbytes = COLOURS * picture.width * picture.height
    return ROOM.filled(nbytes, lambda: pinned(TF.pil_to_tensor(picture), device))
