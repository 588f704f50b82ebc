"""Scenes drawn in advance: drawing one costs more than training on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featsvc.demo.drawing import scenes, shapes, textures
from featsvc.demo.drawing.scenes import Object, Scene, SceneOptions, draw

BUILD = Path("build") / "demo"
"""Scratch folder for caches and checkpoints, git-ignored."""


@dataclass(frozen=True)
class SceneCache:
    """Many scenes of one size."""

    images: NDArray[np.uint8]
    """N x H x W x 3, read from disk as needed."""
    owners: NDArray[np.uint8]
    """N x H x W: 0 background, i the object objects[n][i - 1]."""
    objects: tuple[tuple[Object, ...], ...]

    def __len__(self) -> int:
        return len(self.objects)

    def caption(self, index: int) -> str:
        """The caption that the scene was drawn with."""
        nothing = np.zeros((0, 0, 0))
        return Scene(nothing.astype(np.uint8), nothing.astype(np.bool_), self.objects[index]).caption


def _version() -> str:
    """Changes with the drawing code, so that no cache outlives it."""
    digest = hashlib.sha256()
    for module in (shapes, textures, scenes):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _fill(folder: Path, first_seed: int, count: int, options: SceneOptions) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, options.size, options.size)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (*shape, 3))
    owners = np.lib.format.open_memmap(folder / "owners.npy", "w+", np.uint8, shape)
    names = []
    for index in range(count):
        scene = draw(first_seed + index, options)
        images[index] = scene.image
        owners[index] = (scene.masks * np.arange(1, len(scene.masks) + 1)[:, None, None]).sum(axis=0)
        names.append([[each.colours, each.shape] for each in scene.objects])
    images.flush()
    owners.flush()
    # Written last: a folder with it is whole.
    (folder / "objects.json").write_text(json.dumps(names))


def cached(first_seed: int, count: int, options: SceneOptions, build: Path = BUILD) -> SceneCache:
    """Scenes first_seed to first_seed + count, drawn now if no earlier run drew them."""
    key = hashlib.sha256(f"{first_seed} {count} {options} {_version()}".encode()).hexdigest()[:16]
    folder = build / f"scenes-{key}"
    if not (folder / "objects.json").exists():
        _fill(folder, first_seed, count, options)
    names = json.loads((folder / "objects.json").read_text())
    return SceneCache(
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(folder / "owners.npy", mmap_mode="r"),
        tuple(tuple(Object(tuple(colours), shape) for colours, shape in scene) for scene in names),
    )
