"""How large results are."""

from __future__ import annotations

import numpy as np


def result_bytes(value: object) -> int:
    """Bytes of what can be large in a result: arrays, files, texts and lists of numbers."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, tuple):
        # Run lengths are thousands of numbers, all of one kind.
        return (
            4 * len(value) if value and isinstance(value[0], (int, float)) else sum(map(result_bytes, value))
        )
    return sum(map(result_bytes, vars(value).values())) if hasattr(value, "__dict__") else 0
