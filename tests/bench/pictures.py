"""The benchmark's own pictures, drawn: textures of many scales with shapes on them, as files."""

from __future__ import annotations

import io
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions, draw

Pixels = NDArray[np.uint8]


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Colours of all scales, as natural pictures have them: amplitude falls with frequency, H x W x 3."""
    total = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 24, 48, 96, 192):
        small = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * (3.0 / cells) ** 0.7
    return total


@cache
def scene(width: int, height: int, seed: int = 0, objects: int = 60) -> Pixels:
    """A picture of H x W x 3: objects of many sizes with texture and shading on a textured ground."""
    rng = np.random.default_rng(seed)
    picture = 128 + 70 * _noise(rng, height, width)
    paint = 70 * _noise(rng, height, width)
    radii = np.sort(rng.lognormal(np.log(min(width, height) / 16), 0.6, objects))[::-1]
    for radius in radii:
        mask = np.zeros((height, width), np.uint8)
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        axes = (int(radius * rng.uniform(0.5, 1.5)) + 2, int(radius) + 2)
        if rng.uniform() < 0.5:
            cv2.ellipse(mask, (x, y), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        else:
            corners = cv2.boxPoints(((x, y), (2.0 * axes[0], 2.0 * axes[1]), rng.uniform(0, 90)))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
        inside = mask.astype(bool)
        picture[inside] = rng.uniform(20, 235, 3) + rng.uniform(0.1, 0.6) * paint[inside]
    picture += rng.normal(0, 4, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def file(pixels: Pixels) -> bytes:
    """The picture as a JPEG file as a camera writes it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@cache
def photo(width: int, height: int, seed: int = 0) -> bytes:
    """Such a scene as a JPEG file; no two seeds give the same bytes."""
    return file(scene(width, height, seed))


@cache
def shapes(width: int, height: int, seed: int) -> bytes:
    """Shapes as the demo models know them, as a JPEG file."""
    drawn = draw(HELD_OUT_SEED + seed, SceneOptions(min_objects=6)).image
    return file(np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8))


@cache
def small_pictures(count: int, side: int = 192) -> tuple[bytes, ...]:
    """JPEG files of a side that demo-clip takes without resizing."""
    return tuple(file(scene(side, side, seed, objects=5)) for seed in range(count))
