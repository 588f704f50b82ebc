"""Small holes filled and small islands removed in low-resolution logits.

What `SAM2Transforms.postprocess_masks` does with a compiled extension, which it silently goes without where
that is missing.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host

CERTAIN = 10.0
"""How far beyond the threshold upstream puts the logits that it changes."""
CONNECTIVITY = 8
BYTE = 8
"""Pixels."""


class Sides(NamedTuple):
    """Pixels of masks n x h x w that are at most at a threshold, and that are over it: eight to a byte from a GPU."""

    low: Tensor
    high: Tensor


def sides(logits: Tensor, threshold: float) -> Sides:
    """Those of logits n x h x w, where these are."""
    return Sides(_bits(logits <= threshold), _bits(logits > threshold))


def cleaned(logits: Tensor, max_hole: float, max_sprinkle: float, threshold: float) -> Tensor:
    """Logits n x h x w without holes of up to `max_hole` pixels and islands of up to `max_sprinkle`.

    Both are found in the logits as they came. A GPU is waited for once.
    """
    if max(max_hole, max_sprinkle) <= 0:
        return logits
    return corrected(logits, Sides(*on_host(*sides(logits, threshold))), max_hole, max_sprinkle, threshold)


def corrected(logits: Tensor, seen: Sides, max_hole: float, max_sprinkle: float, threshold: float) -> Tensor:
    """The same where their sides are in the host's memory already."""
    if not len(logits):
        return logits
    pairs = zip(_pixels(seen.low, logits), _pixels(seen.high, logits), strict=True)
    changes = [_small(low, max_hole).view(np.int8) - _small(high, max_sprinkle) for low, high in pairs]
    change = on_device(torch.from_numpy(np.stack(changes)), logits.device)
    filled = torch.where(change > 0, threshold + CERTAIN, logits)
    return torch.where(change < 0, threshold - CERTAIN, filled)


def _bits(masks: Tensor) -> Tensor:
    """Booleans n x h x w; of a GPU n x hw / 8, the first pixel in the lowest bit."""
    if masks.device.type == "cpu":
        return masks
    places = torch.arange(BYTE, dtype=torch.uint8, device=masks.device)
    return (masks.reshape(len(masks), -1, BYTE).to(torch.uint8) << places).sum(dim=2, dtype=torch.uint8)


def _pixels(bits: Tensor, like: Tensor) -> NDArray[np.uint8]:
    """The same n x h x w, a byte each."""
    array = bits.numpy()
    if array.dtype == np.uint8:
        return np.unpackbits(array, axis=1, bitorder="little").reshape(like.shape)
    return array.view(np.uint8)


def _small(mask: NDArray[np.uint8], max_area: float) -> NDArray[np.bool_]:
    """Pixels of connected regions of up to `max_area`, h x w."""
    if max_area <= 0:
        return np.zeros_like(mask, np.bool_)
    step()
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY)
    small = stats[:, cv2.CC_STAT_AREA] <= max_area
    # Label 0 is the outside of the regions.
    small[0] = False
    regions: NDArray[np.bool_] = small[labels]
    return regions
