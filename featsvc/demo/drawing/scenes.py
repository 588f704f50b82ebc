"""Drawn scenes: coloured shapes on textured backgrounds, with their exact visible masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from featsvc.demo.drawing.shapes import SHAPES, Pose, coverage
from featsvc.demo.drawing.textures import COLOURS, background, noisy, object_paint

HELD_OUT_SEED = 1_000_000_000
"""Scenes of this seed and above are for evaluation; training draws below it."""

_MIN_VISIBLE = 0.7
_PLACEMENTS = 40


@dataclass(frozen=True)
class SceneOptions:
    """What may stand in a scene; sizes of objects are parts of the picture's side."""

    size: int = 256
    min_objects: int = 1
    max_objects: int = 6
    min_scale: float = 0.17
    max_scale: float = 0.45
    several_colours: bool = False
    palette: int = len(COLOURS)
    """Colours that one scene draws from: a small palette makes objects of the same colour meet."""


STANDARD = SceneOptions()


@dataclass(frozen=True)
class Object:
    """What a drawn object is called."""

    colours: tuple[str, ...]
    shape: str

    @property
    def colour(self) -> str:
        """Name of its colours, such as 'red', or 'red and blue'."""
        return " and ".join(self.colours)

    @property
    def text(self) -> str:
        """Such as 'a red circle'."""
        return f"a {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it, objects from left to right."""

    image: NDArray[np.uint8]
    """H x W x 3."""
    masks: NDArray[np.bool_]
    """Visible pixels of each object, N x H x W, disjoint."""
    objects: tuple[Object, ...]

    @property
    def caption(self) -> str:
        """Such as 'a red circle, a blue star and a green ring'."""
        texts = [each.text for each in self.objects]
        return " and ".join(part for part in (", ".join(texts[:-1]), texts[-1]) if part)


@dataclass(frozen=True)
class _Placed:
    name: Object
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @cached_property
    def area(self) -> int:
        return int(self.mask.sum())


def _name(options: SceneOptions, palette: NDArray[np.str_], rng: np.random.Generator) -> Object:
    wanted = int(rng.integers(2, 4)) if options.several_colours else 1
    colours = rng.choice(palette, size=min(wanted, len(palette)), replace=False)
    return Object(tuple(str(colour) for colour in colours), str(rng.choice(list(SHAPES))))


def _fits(new: _Placed, placed: list[_Placed], gap: NDArray[np.uint8]) -> bool:
    """Whether every object stays mostly visible, and those that share a colour stay apart."""
    hidden = np.zeros_like(new.mask)
    for above in [new, *reversed(placed)]:
        if (above.mask & ~hidden).sum() < _MIN_VISIBLE * above.area:
            return False
        hidden |= above.mask
    grown = cv2.dilate(new.mask.view(np.uint8), gap).view(np.bool_)
    alike = (other for other in placed if set(other.name.colours) & set(new.name.colours))
    return not any((other.mask & grown).any() for other in alike)


def _place(placed: list[_Placed], name: Object, options: SceneOptions, rng: np.random.Generator) -> None:
    """Finds room for one more object; a crowded scene goes without it."""
    size, gap = options.size, np.ones((2 * (options.size // 64) + 1,) * 2, np.uint8)
    for attempt in range(_PLACEMENTS):
        largest = options.max_scale - (options.max_scale - options.min_scale) * attempt / _PLACEMENTS
        radius = rng.uniform(options.min_scale, largest) * size / 2
        x, y = rng.uniform(radius, size - radius, 2)
        alpha = coverage(name.shape, Pose(x, y, radius, rng.uniform(0, 2 * np.pi)), size)
        new = _Placed(name, alpha, alpha >= 0.5)
        if _fits(new, placed, gap):
            placed.append(new)
            return


def _centre_x(mask: NDArray[np.bool_]) -> float:
    return float(np.flatnonzero(mask.any(axis=0)).mean())


def draw(seed: int, options: SceneOptions = STANDARD) -> Scene:
    """The scene of this seed: the same seed and options give the same bytes."""
    rng = np.random.default_rng(seed)
    palette = rng.choice(list(COLOURS), size=options.palette, replace=False)
    wanted = int(rng.integers(options.min_objects, options.max_objects + 1))
    placed: list[_Placed] = []
    for _ in range(wanted):
        name = _name(options, palette, rng)
        if name not in [other.name for other in placed]:
            _place(placed, name, options, rng)
    paint = background(options.size, rng)
    owner = np.full((options.size, options.size), -1)
    for index, each in enumerate(placed):
        alpha = each.alpha[..., None]
        paint = paint * (1 - alpha) + object_paint(each.name.colours, options.size, rng) * alpha
        owner[each.mask] = index
    masks = owner == np.arange(len(placed))[:, None, None]
    order = sorted(range(len(placed)), key=lambda index: _centre_x(masks[index]))
    return Scene(noisy(paint, rng), masks[order], tuple(placed[index].name for index in order))
