"""Small pictures that the cases are about, drawn here, so that the case file stays small and everybody's."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

SIZE = (96, 64)
BACKGROUND = (96, 104, 112)


def scene() -> Image.Image:
    """A red circle left, a blue square right, on grey."""
    picture = Image.new("RGB", SIZE, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((8, 16, 40, 48), fill=(200, 30, 30))
    draw.rectangle((56, 18, 84, 46), fill=(30, 40, 200))
    return picture


def grey() -> Image.Image:
    """A ramp of greys, higher than wide, with one channel."""
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    return Image.fromarray(np.tile(ramp, (56, 1)))


def encoded(picture: Image.Image) -> str:
    """A PNG file as base64, as protobuf JSON writes bytes."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
