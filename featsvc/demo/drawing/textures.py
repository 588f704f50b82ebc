"""Paint: backgrounds of dull colours, and shaded objects of vivid ones."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

Paint = NDArray[np.float32]
"""Colours of a picture, H x W x 3, 0 to 255."""

# Hue in degrees, saturation, value. Hues are far enough apart to stay apart after the jitter.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0, 0.90, 0.85),
    "orange": (27, 0.95, 0.97),
    "yellow": (55, 0.90, 0.95),
    "green": (120, 0.85, 0.65),
    "cyan": (180, 0.80, 0.90),
    "blue": (226, 0.85, 0.85),
    "purple": (273, 0.75, 0.65),
    "pink": (325, 0.50, 0.98),
}


def _rgb(hue_degrees: float, saturation: float, value: float) -> Paint:
    rgb = colorsys.hsv_to_rgb(hue_degrees % 360 / 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1))
    return np.asarray(rgb, np.float32) * 255


def _vivid(colour: str, rng: np.random.Generator) -> Paint:
    hue, saturation, value = COLOURS[colour]
    return _rgb(
        hue + rng.uniform(-6, 6), saturation + rng.uniform(-0.1, 0.05), value + rng.uniform(-0.08, 0.05)
    )


def _dull(rng: np.random.Generator) -> Paint:
    return _rgb(rng.uniform(0, 360), rng.uniform(0, 0.22), rng.uniform(0.12, 0.92))


def _ramp(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Linear ramp in a random direction over the picture, size x size, about -1 to 1."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, size, dtype=np.float32)
    ramp: NDArray[np.float32] = (
        np.float32(np.cos(angle)) * along[None, :] + np.float32(np.sin(angle)) * along[:, None]
    )
    return ramp


def _stripes(size: int, period: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Soft stripes, size x size, 0 to 1; the period is a part of the picture."""
    wave = np.sin(_ramp(size, rng) * np.float32(2 * np.pi / (2 * period)) + np.float32(rng.uniform(0, 6.28)))
    return np.asarray(np.clip(wave * 2.5 + 0.5, 0, 1), np.float32)


def _clouds(size: int, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise with the given number of cells a side, size x size, 0 to 1."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 1)


def background(size: int, rng: np.random.Generator) -> Paint:
    """Gradient, stripes or clouds between two dull colours, size x size x 3."""
    kinds = (
        lambda: _ramp(size, rng) * 0.4 + 0.5,
        lambda: _stripes(size, rng.uniform(0.05, 0.3), rng),
        lambda: _clouds(size, int(rng.integers(4, 24)), rng),
    )
    mix = np.clip(kinds[rng.integers(len(kinds))](), 0, 1)[..., None]
    first, second = _dull(rng), _dull(rng)
    return first * (1 - mix) + second * mix


def _patches(size: int, shares: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Which of the shares owns a pixel, in stripes or irregular patches, size x size."""
    if rng.random() < 0.5:
        phase = _ramp(size, rng) / rng.uniform(0.08, 0.25) + rng.uniform(0, shares)
        return np.asarray(np.floor(phase % shares).astype(np.intp) % shares)
    fields = [_clouds(size, int(rng.integers(12, 28)), rng) for _ in range(shares)]
    return np.asarray(np.argmax(fields, axis=0))


def object_paint(colours: tuple[str, ...], size: int, rng: np.random.Generator) -> Paint:
    """Shaded paint of one object over the whole picture, size x size x 3."""
    tones = np.stack([_vivid(colour, rng) for colour in colours])
    paint = tones[_patches(size, len(colours), rng)] if len(colours) > 1 else tones[0]
    shade = 0.9 + rng.uniform(0.1, 0.6) * _ramp(size, rng)
    if rng.random() < 0.3:
        shade = shade - rng.uniform(0.08, 0.2) * _stripes(size, rng.uniform(0.03, 0.08), rng)
    return np.asarray(paint * np.clip(shade, 0.6, 1.12)[..., None])


def noisy(paint: Paint, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The finished picture with light sensor noise, H x W x 3."""
    noise = rng.standard_normal((*paint.shape[:2], 1), dtype=np.float32) * np.float32(rng.uniform(0, 6))
    return np.clip(paint + noise, 0, 255).astype(np.uint8)
