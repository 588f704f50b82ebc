"""Masks that are written as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


def inside(picture: Image.Image) -> NDArray[np.bool_]:
    """Which pixels are in the mask, H x W: those that are not transparent, or where all are opaque those not black."""
    mask: NDArray[np.bool_]
    if picture.has_transparency_data:
        mask = np.asarray(picture.convert("RGBA"))[..., 3] > 0
        if not mask.all():
            return mask
    if len(picture.getbands()) == 1 and picture.mode != "P":  # P: its numbers stand for colours
        mask = np.asarray(picture) != 0
    else:
        mask = np.asarray(picture.convert("RGB")).max(axis=-1) > 0
    return mask
