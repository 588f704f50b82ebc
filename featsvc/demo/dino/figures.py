"""How well demo-dino's features tell one object's patches from another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from featsvc.demo.dino import model as dino_model
from featsvc.demo.dino.batches import PATCH, patch_owners
from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw
from featsvc.demo.evaluate import Line

OPTIONS = SceneOptions(size=18 * PATCH, min_objects=2, several_colours=True)
"""Scenes of a whole number of patches, so that no padding takes part."""

Likeness = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From a picture H x W x 3 to how alike its patches are, patches x patches."""


@dataclass(frozen=True)
class DinoFigures:
    """Areas under the ROC curve, same object against different objects; 0.5 is chance."""

    trained: float
    random_weights: float
    mean_rgb: float
    position: float
    """Nearness in the picture alone, which says much where most objects lie apart."""


def area_under_curve(alike: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """Probability that a pair of the same object is more alike than one of different objects."""
    ranks = rankdata(alike)
    positives = int(same.sum())
    above = ranks[same].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(same) - positives)))


def token_likeness(model: VisionTransformer) -> Likeness:
    """Cosine similarity of the last block's patch tokens."""

    def likeness(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            pictures = dino_model.normalised(torch.from_numpy(image)[None])
            tokens = F.normalize(dino_model.patch_tokens(model, pictures)[0], dim=-1)
            return np.asarray((tokens @ tokens.T).numpy(), np.float32)

    return likeness


def rgb_likeness(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Nearness of the patches' mean colours."""
    side = image.shape[0] // PATCH
    cells = image.reshape(side, PATCH, side, PATCH, 3).mean(axis=(1, 3)).reshape(-1, 3)
    distance = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    return np.asarray(-distance, np.float32)


def position_likeness(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Nearness of the patches themselves."""
    side = image.shape[0] // PATCH
    rows, columns = np.divmod(np.arange(side * side), side)
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    return np.asarray(-distance, np.float32)


def _pairs(scene: Scene) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Every pair of patches that lie on objects, and whether it is the same object."""
    numbers = np.arange(1, len(scene.masks) + 1)[:, None, None]
    owners = patch_owners((scene.masks * numbers).sum(axis=0).astype(np.uint8))
    on_objects = np.flatnonzero(owners > 0)
    first, second = (on_objects[index] for index in np.triu_indices(len(on_objects), 1))
    return first, second, owners[first] == owners[second]


def drawn(first_seed: int, scenes: int) -> list[Scene]:
    """The scenes from first_seed on."""
    return [draw(first_seed + index, OPTIONS) for index in range(scenes)]


def same_object_auc(likeness: Likeness, scenes: list[Scene]) -> float:
    """The area over all pairs of all scenes."""
    alike, same = [], []
    for scene in scenes:
        first, second, is_same = _pairs(scene)
        alike.append(likeness(scene.image)[first, second])
        same.append(is_same)
    return area_under_curve(np.concatenate(alike), np.concatenate(same))


def evaluate_dino(model: VisionTransformer, first_seed: int, scenes: int = 100) -> DinoFigures:
    """The trained network beside the same network untrained, mean colour, and position."""
    torch.manual_seed(0)
    untrained = dino_model.build().eval()
    seen = drawn(first_seed, scenes)
    return DinoFigures(
        same_object_auc(token_likeness(model.eval()), seen),
        same_object_auc(token_likeness(untrained), seen),
        same_object_auc(rgb_likeness, seen),
        same_object_auc(position_likeness, seen),
    )


def report() -> tuple[Line, ...]:
    """The shipped weights against the target, and what they have to beat."""
    figures = evaluate_dino(dino_model.load(), HELD_OUT_SEED)
    return (
        Line("same-object against different-object patches, AUC", figures.trained, 0.97),
        Line("  the same network with random weights", figures.random_weights, None),
        Line("  nearness of mean RGB", figures.mean_rgb, None),
        Line("  nearness of patches in the picture", figures.position, None),
    )
