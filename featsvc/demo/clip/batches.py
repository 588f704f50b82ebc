"""Training batches of demo-clip: views of scenes, and what covers each patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from featsvc.demo.clip.texts import CLASS_OF, PAIRS
from featsvc.demo.drawing import views
from featsvc.demo.drawing.scene_cache import SceneCache

_CLASSES = len(PAIRS) + 1
_CUT_OFF = _CLASSES
_SHOWN_PART = 0.65


@dataclass(frozen=True)
class Recipe:
    """How a batch is made."""

    view: str
    size: int
    count: int


@dataclass(frozen=True)
class ClipBatch:
    """Pictures and their truth."""

    images: torch.Tensor
    """N x S x S x 3, bytes."""
    shares: torch.Tensor
    """Part of each patch that is background or a PAIRS class, N x patches x 49."""
    known: torch.Tensor
    """Patches without an object that the view cuts off, N x patches."""
    captions: tuple[str, ...]
    """Of whole scenes only."""


_WINDOWS: dict[str, Callable[[NDArray[np.uint8], np.random.Generator], views.Window]] = {
    "whole": lambda owners, rng: views.whole(owners.shape[0], rng),
    "zoomed": lambda owners, rng: views.zoomed(owners.shape[0], rng),
    "object": views.around_an_object,
}


def _classes(
    cache: SceneCache, index: int, window: views.Window, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """The view S x S x 3, and the class of each of its pixels, S x S."""
    image = window.seen(cache.images[index], size, cv2.INTER_LINEAR)
    owners = window.seen(cache.owners[index], size, cv2.INTER_NEAREST)
    table = np.array([0, *(CLASS_OF[name] for name in cache.objects[index])])
    enough = views.whole_enough(cache.owners[index], owners, window.side, _SHOWN_PART)
    table[: len(enough)][~enough] = _CUT_OFF
    return image, table[owners]


def _shares(classes: NDArray[np.intp], patch: int) -> NDArray[np.float32]:
    """Part of each patch that each class covers, patches x 50."""
    side = classes.shape[0] // patch
    patches = classes.reshape(side, patch, side, patch).transpose(0, 2, 1, 3).reshape(side * side, -1)
    keys = patches + np.arange(len(patches))[:, None] * (_CLASSES + 1)
    counts = np.bincount(keys.ravel(), minlength=len(patches) * (_CLASSES + 1))
    return (counts.reshape(len(patches), -1) / patch**2).astype(np.float32)


def batch(
    caches: tuple[SceneCache, ...], recipe: Recipe, rng: np.random.Generator, patch: int = 16
) -> ClipBatch:
    """Random views of random scenes."""
    images, shares, captions = [], [], []
    for _ in range(recipe.count):
        cache = caches[rng.integers(len(caches))]
        index = int(rng.integers(len(cache)))
        window = _WINDOWS[recipe.view](cache.owners[index], rng)
        image, classes = _classes(cache, index, window, recipe.size)
        images.append(image)
        shares.append(_shares(classes, patch))
        if recipe.view == "whole":
            captions.append(cache.caption(index))
    covered = torch.from_numpy(np.stack(shares))
    known = covered[..., _CUT_OFF] == 0
    return ClipBatch(torch.from_numpy(np.stack(images)), covered[..., :_CLASSES], known, tuple(captions))
