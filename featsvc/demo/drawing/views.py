"""Views of drawn scenes: whole, zoomed and turned, with the owner of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """A turned square of a scene: centre and side in pixels, angle in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0
    upside_down: bool = False

    def seen(self, picture: NDArray[np.uint8], size: int, flags: int) -> NDArray[np.uint8]:
        """The window of a picture H x W (x 3) at size x size, mirrored beyond its borders."""
        scale = self.side / size
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        turn = np.array([[cos, -sin], [sin, cos]])
        if self.upside_down:
            turn[:, 1] *= -1
        shift = np.array([self.x, self.y]) - 0.5 - turn @ ((size - 1) / 2, (size - 1) / 2)
        matrix = np.column_stack([turn, shift])
        inverse = flags | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(picture, matrix, (size, size), flags=inverse, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(view, np.uint8)


def whole(side: int, rng: np.random.Generator) -> Window:
    """The whole scene, upside down half of the time: left and right stay, so its caption holds."""
    return Window(side / 2, side / 2, side, upside_down=rng.random() < 0.5)


def zoomed(side: int, rng: np.random.Generator) -> Window:
    """A random turned part of the scene."""
    part = side * rng.uniform(0.25, 1.0)
    x, y = rng.uniform(part / 2, side - part / 2, 2)
    return Window(x, y, part, rng.uniform(0, 2 * np.pi), rng.random() < 0.5)


def around_an_object(owners: NDArray[np.uint8], rng: np.random.Generator) -> Window:
    """A turned square about one object of the scene, with some room around it."""
    ys, xs = np.nonzero(owners == rng.integers(1, owners.max() + 1))
    extent = max(np.ptp(xs), np.ptp(ys)) + 1.0
    side = extent * rng.uniform(1.15, 2.2)
    x, y = xs.mean() + rng.normal(0, 0.1) * extent, ys.mean() + rng.normal(0, 0.1) * extent
    return Window(float(x), float(y), side, rng.uniform(0, 2 * np.pi), rng.random() < 0.5)


def whole_enough(
    full: NDArray[np.uint8], seen: NDArray[np.uint8], side: float, part: float
) -> NDArray[np.bool_]:
    """For each owner of a pixel, background included, whether that part of it is in the view."""
    count = int(full.max()) + 1
    areas = np.bincount(full.ravel(), minlength=count)
    shown = np.bincount(seen.ravel(), minlength=count) * (side / seen.shape[0]) ** 2
    enough = shown >= part * areas
    enough[0] = True
    return np.asarray(enough, np.bool_)
