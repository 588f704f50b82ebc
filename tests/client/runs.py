"""Run lengths of a mask, by another way than the client's."""

from __future__ import annotations

from itertools import groupby

import numpy as np


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of runs in column-major order, beginning with background."""
    runs = [(value, len(list(group))) for value, group in groupby(mask.T.ravel().tolist())]
    return [0] * (not runs or runs[0][0]) + [length for _, length in runs]
