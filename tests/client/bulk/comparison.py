"""What is in files against what the client itself is answered."""

from __future__ import annotations

import numpy as np
from featsvc_client import Mask

NAMES = ("a.png", "sub/b.png")
FEW = ("--points-per-side", "4")


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for what the company in a batch may change in the last bits."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(
        found.astype(np.float32), expected.astype(np.float32), rtol=1e-2, atol=1e-2 * np.abs(expected).max()
    )


def same(found: np.ndarray, mask: Mask) -> None:
    assert (found.astype(bool) != mask.segmentation).sum() <= 8
