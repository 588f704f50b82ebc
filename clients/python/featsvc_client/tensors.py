"""Base64 float32 tensors of REST bodies as arrays and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featsvc_client.errors import damaged

FLOAT32 = np.dtype("<f4")


def decoded(encoded: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """The tensor, float32, of that shape; writable."""
    try:
        data = bytearray(base64.b64decode(encoded, validate=True))
        return np.frombuffer(data, FLOAT32).reshape(tuple(shape))
    except (binascii.Error, ValueError) as error:
        raise damaged(f"no float32 tensor of shape {tuple(shape)}: {error}") from error


def encoded(array: ArrayLike) -> tuple[str, list[int]]:
    """The tensor as base64 float32, and its shape."""
    values = np.asarray(array, FLOAT32)
    return base64.b64encode(values.tobytes()).decode(), list(values.shape)
