"""Outlines of the drawn shapes, and how much of each pixel they cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]
"""Corners of a polygon in units of its radius, K x 2."""

_SUBPIXEL_BITS = 4


def _regular(corners: int) -> Outline:
    angles = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _circle() -> list[Outline]:
    return [_regular(72) * 0.9]


def _ring() -> list[Outline]:
    return [_regular(72), _regular(72) * 0.55]


def _square() -> list[Outline]:
    return [_regular(4)]


def _triangle() -> list[Outline]:
    return [_regular(3)]


def _star() -> list[Outline]:
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)[:, None]
    return [_regular(10) * radii]


def _cross() -> list[Outline]:
    arm, reach = 0.32, 0.95
    quarter = np.array([[reach, -arm], [reach, arm], [arm, arm]])
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn.T for turn in turns])]


SHAPES: dict[str, Callable[[], list[Outline]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}


@dataclass(frozen=True)
class Pose:
    """Where a shape lies: centre and radius in pixels, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float


def coverage(shape: str, pose: Pose, size: int) -> NDArray[np.float32]:
    """Part of each pixel that the shape covers, size x size, 0 to 1."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    corners = [outline @ turn * pose.radius + (pose.x, pose.y) for outline in SHAPES[shape]()]
    fixed = [np.round(points * 2**_SUBPIXEL_BITS).astype(np.int32) for points in corners]
    canvas = np.zeros((size, size), np.uint8)
    # Several contours fill by the even-odd rule, which gives the ring its hole.
    cv2.fillPoly(canvas, fixed, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return np.asarray(canvas.astype(np.float32) / 255, np.float32)
