"""Which masks of a list stay beside each other, by LangSplat's rule (Qin et al. 2024): docs/formulas.md, "Objects"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featsvc.engines.objects.overlaps import Matrix, ious
from featsvc.work.objects import ObjectsParams

INNER_PART = 0.85
"""Part of a mask that lies in another where it lies in it."""
OUTER_PART = 0.5
"""Part of the other that is less than this then."""


def suppresses(params: ObjectsParams) -> bool:
    """Whether any mask could be dropped."""
    return params.mask_nms_thresh < 1 or params.inner_nms_thresh > 0 or params.mask_score_thresh > 0


def unsuppressed(shared: Matrix, scores: NDArray[np.float64], params: ObjectsParams) -> NDArray[np.bool_]:
    """Which of N masks stay, of the pixels N x N that each two share and their scores N.

    Of equal scores the first is better. Each is compared with all others, whether these stay or not: all is decided at
    once.
    """
    rank = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
    is_better = rank[:, None] < rank[None, :]
    is_double = ((ious(shared) > params.mask_nms_thresh) & is_better).any(axis=0)
    areas = np.diagonal(shared)[:, None]
    part = np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0)
    lies_in = (part >= INNER_PART) & (part.T < OUTER_PART) & (part * part.T < params.inner_nms_thresh)
    stays: NDArray[np.bool_] = np.logical_not(is_double | lies_in.any(axis=1))
    if params.mask_score_thresh > 0:
        stays &= scores > params.mask_score_thresh
    return stays
