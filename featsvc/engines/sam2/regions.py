"""Small holes filled and small islands removed in low-resolution logits.

What `SAM2Transforms.postprocess_masks` does with a compiled extension, which it silently goes without where
that is missing.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device

CERTAIN = 10.0
"""How far beyond the threshold upstream puts the logits that it changes."""
CONNECTIVITY = 8


def cleaned(logits: Tensor, max_hole: float, max_sprinkle: float, threshold: float) -> Tensor:
    """Logits n x h x w without holes of up to `max_hole` pixels and islands of up to `max_sprinkle`.

    Both are found in the logits as they came, holes first where one pixel were both.
    """
    result = logits
    if max_hole > 0:
        result = torch.where(_small(logits <= threshold, max_hole), threshold + CERTAIN, result)
    if max_sprinkle > 0:
        result = torch.where(_small(logits > threshold, max_sprinkle), threshold - CERTAIN, result)
    return result


def _small(masks: Tensor, max_area: float) -> Tensor:
    """Pixels of connected regions of up to `max_area`, n x h x w."""
    regions = [_small_regions(mask, max_area) for mask in masks.cpu().numpy().astype(np.uint8)]
    if not regions:
        return torch.zeros_like(masks)
    return on_device(torch.from_numpy(np.stack(regions)), masks.device)


def _small_regions(mask: NDArray[np.uint8], max_area: float) -> NDArray[np.bool_]:
    step()
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY)
    small = stats[:, cv2.CC_STAT_AREA] <= max_area
    # Label 0 is the outside of the regions.
    small[0] = False
    regions: NDArray[np.bool_] = small[labels]
    return regions
