"""Pictures as files, for requests."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(array: NDArray[np.uint8]) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def base64_png(array: NDArray[np.uint8]) -> str:
    """A picture as base64 text of a PNG file, as REST takes it."""
    return base64.b64encode(png(array)).decode()
