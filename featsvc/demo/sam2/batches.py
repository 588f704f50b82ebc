"""Training pictures for demo-sam2: drawn scenes, cropped, turned and recoloured afresh for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featsvc.demo.drawing.scene_cache import BUILD, SceneCache, cached
from featsvc.demo.drawing.scenes import STANDARD

# What SAM2Transforms normalises with.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255

CELL = 16
"""Stride of the image embedding, in pixels."""

_SMALLEST_REGION = 48
"""Fewer visible pixels than this are no object to prompt for: a crop may leave slivers."""


@dataclass(frozen=True)
class Sam2Batch:
    """Pictures of one step."""

    images: torch.Tensor
    """B x 3 x S x S, normalised as SAM2Transforms does."""
    regions: NDArray[np.uint8]
    """B x S x S: 0 background, i the i-th object."""
    place: tuple[int, int]
    """Where in the network's own square the crops stand: x and y of the top left, in cells of the embedding.

    A crop keeps the position codes of a whole picture, so that what is learned on crops holds for pictures.
    """

    def objects(self, index: int) -> list[int]:
        """Regions of one picture that are worth a prompt, background excluded."""
        areas = np.bincount(self.regions[index].ravel())
        return [region for region in range(1, len(areas)) if areas[region] >= _SMALLEST_REGION]


def library(first_seed: int, count: int, build: Path = BUILD) -> list[SceneCache]:
    """Scenes to train on; a quarter has objects of several colours."""
    mixed, several = count // 4, replace(STANDARD, several_colours=True)
    seeds = ((first_seed, count - mixed, STANDARD), (first_seed + count - mixed, mixed, several))
    return [cached(*each, build) for each in seeds]


def normalised(images: NDArray[np.uint8]) -> torch.Tensor:
    """Network input of pictures B x H x W x 3: B x 3 x H x W, float32."""
    scaled = (images.astype(np.float32) - _MEAN) / _STD
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def _corner(regions: NDArray[np.uint8], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left of a crop around some object of one scene."""
    ys, xs = np.nonzero(regions == rng.integers(1, regions.max() + 1))
    shift = rng.integers(-side // 3, side // 3 + 1, 2)
    room = np.array(regions.shape) - side
    y, x = np.clip(np.array([ys.mean(), xs.mean()]) - side / 2 + shift, 0, room).astype(int)
    return int(y), int(x)


def _recoloured(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture with its channels exchanged now and then, and its light changed."""
    if rng.random() < 0.3:
        image = image[..., rng.permutation(3)]
    table = np.clip(np.arange(256) * rng.uniform(0.85, 1.15) + rng.uniform(-15, 15), 0, 255)
    recoloured: NDArray[np.uint8] = table.astype(np.uint8)[image]
    return recoloured


def sample(scenes: Sequence[SceneCache], count: int, side: int, rng: np.random.Generator) -> Sam2Batch:
    """A random batch of crops of the given side."""
    images = np.empty((count, side, side, 3), np.uint8)
    regions = np.empty((count, side, side), np.uint8)
    sizes = np.array([len(each) for each in scenes])
    for slot, source in enumerate(rng.choice(len(scenes), count, p=sizes / sizes.sum())):
        scene = rng.integers(sizes[source])
        image, owners = scenes[source].images[scene], scenes[source].owners[scene]
        y, x = _corner(owners, side, rng)
        window = np.s_[y : y + side, x : x + side]
        turns, flip = int(rng.integers(4)), int(rng.choice([-1, 1]))
        images[slot] = _recoloured(np.rot90(image[window], turns)[::flip], rng)
        regions[slot] = np.rot90(owners[window], turns)[::flip]
    column, row = rng.integers(0, (STANDARD.size - side) // CELL + 1, 2)
    return Sam2Batch(normalised(images), regions, (int(column), int(row)))
