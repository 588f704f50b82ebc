"""Training batches of demo-dino: views of scenes, and the object that each patch lies on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from featsvc.demo.drawing import views
from featsvc.demo.drawing.scene_cache import SceneCache
from featsvc.demo.drawing.shapes import SHAPES

PATCH = 14
MIXED = -1
_MAJORITY = 0.6
_SHAPE_NUMBER = {shape: index + 1 for index, shape in enumerate(SHAPES)}


@dataclass(frozen=True)
class DinoBatch:
    """Pictures and their truth."""

    images: torch.Tensor
    """N x S x S x 3, bytes."""
    owners: torch.Tensor
    """N x patches: 0 background, i the i-th object, -1 where none has most of the patch."""
    shapes: torch.Tensor
    """N x patches: 0 background, i the i-th of SHAPES, -1 as above."""


def patch_owners(owners: NDArray[np.uint8], patch: int = PATCH) -> NDArray[np.int64]:
    """The owner of most pixels of each patch, or MIXED, from the owner of each pixel."""
    side = owners.shape[0] // patch
    cells = owners.reshape(side, patch, side, patch).transpose(0, 2, 1, 3).reshape(side * side, -1)
    counts = (cells[..., None] == np.arange(int(owners.max()) + 1)).mean(axis=1)
    return np.where(counts.max(axis=1) >= _MAJORITY, counts.argmax(axis=1), MIXED)


def batch(cache: SceneCache, size: int, count: int, rng: np.random.Generator) -> DinoBatch:
    """Random views of random scenes, half of them whole."""
    images, owners, shapes = [], [], []
    for _ in range(count):
        index = int(rng.integers(len(cache)))
        frame = views.whole if rng.random() < 0.5 else views.zoomed
        window = frame(cache.owners.shape[1], rng)
        images.append(window.seen(cache.images[index], size, cv2.INTER_LINEAR))
        owned = patch_owners(window.seen(cache.owners[index], size, cv2.INTER_NEAREST))
        # One more at the end: MIXED picks it.
        numbers = np.array([0, *(_SHAPE_NUMBER[each.shape] for each in cache.objects[index]), MIXED])
        owners.append(owned)
        shapes.append(numbers[owned])
    stacked = (torch.from_numpy(np.stack(each)) for each in (images, owners, shapes))
    return DinoBatch(*stacked)
