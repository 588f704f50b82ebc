"""Clicks, boxes and corrections for training demo-sam2, with the mask that each of them means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featsvc.demo.sam2.batches import CELL, Sam2Batch

# The point labels of sam2's PromptEncoder.
_NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3

_BACKGROUND_SHARE = 0.2
"""Part of the clicks that mean the background: a grid of points falls on it more often than on any object."""

_BOX_JITTER = 0.04
"""Standard deviation of a box side, as part of the box."""


Mask = NDArray[np.bool_]
"""S x S."""
Points = NDArray[np.float64]
"""x and y, last dimension 2."""


@dataclass(frozen=True)
class TrainingPrompts:
    """The same number of prompts for every picture of a batch, picture by picture."""

    coords: torch.Tensor
    """N x K x 2, x and y in pixels of the crop."""
    labels: torch.Tensor
    """N x K, int32."""
    masks: torch.Tensor
    """What is meant, N x S x S, bool."""
    place: tuple[int, int]
    """Of the crop, as Sam2Batch has it."""

    @property
    def placed(self) -> torch.Tensor:
        """The coordinates in the network's own square, N x K x 2."""
        return self.coords + CELL * torch.tensor(self.place)

    def at(self, side: int) -> torch.Tensor:
        """Part of each cell that belongs to the mask, N x 1 x side x side, float32."""
        return functional.adaptive_avg_pool2d(self.masks[:, None].float(), side)


def _prompts(batch: Sam2Batch, points: list[Points], labels: list[int], masks: list[Mask]) -> TrainingPrompts:
    coords = torch.from_numpy(np.stack(points).astype(np.float32))
    repeated = torch.tensor(labels, dtype=torch.int32).repeat(len(points), 1)
    return TrainingPrompts(coords, repeated, torch.from_numpy(np.stack(masks)), batch.place)


def _any_pixel(mask: Mask, rng: np.random.Generator) -> Points:
    """x and y of a random pixel of the mask."""
    flat = np.flatnonzero(mask)
    y, x = divmod(int(flat[rng.integers(len(flat))]), mask.shape[1])
    return np.array([x, y], np.float64)


def clicks(batch: Sam2Batch, count: int, rng: np.random.Generator) -> TrainingPrompts:
    """One positive click a prompt, anywhere on an object or on the background."""
    coords, masks = [], []
    for index, regions in enumerate(batch.regions):
        objects = batch.objects(index)
        for _ in range(count):
            background = not objects or rng.random() < _BACKGROUND_SHARE
            mask = regions == (0 if background else rng.choice(objects))
            masks.append(mask if mask.any() else ~mask)
            coords.append(_any_pixel(masks[-1], rng)[None])
    return _prompts(batch, coords, [_POSITIVE], masks)


def boxes(batch: Sam2Batch, count: int, rng: np.random.Generator) -> TrainingPrompts:
    """One box a prompt, around an object and a little off."""
    coords, masks = [], []
    for index, regions in enumerate(batch.regions):
        objects = batch.objects(index) or [0]
        for _ in range(count):
            masks.append(regions == rng.choice(objects))
            ys, xs = np.nonzero(masks[-1])
            corners = np.array([[xs.min(), ys.min()], [xs.max(), ys.max()]], np.float64)
            spread = (corners[1] - corners[0] + 1) * _BOX_JITTER
            coords.append(np.clip(corners + rng.normal(0, 1, (2, 2)) * spread, 0, len(regions) - 1))
    return _prompts(batch, coords, [_TOP_LEFT, _BOTTOM_RIGHT], masks)


def corrected(prompts: TrainingPrompts, logits: torch.Tensor, rng: np.random.Generator) -> TrainingPrompts:
    """The prompts with one more click where the mask, N x 1 x h x w, is wrong, if it is."""
    side = prompts.masks.shape[-1]
    found = functional.interpolate(logits, (side, side), mode="bilinear")[:, 0] > 0
    coords, labels = [], []
    for mask, wrong in zip(prompts.masks.numpy(), (found ^ prompts.masks).numpy(), strict=True):
        x, y = _any_pixel(wrong if wrong.any() else mask, rng)
        coords.append([[x, y]])
        labels.append([_POSITIVE if mask[int(y), int(x)] else _NEGATIVE])
    return TrainingPrompts(
        torch.cat([prompts.coords, torch.tensor(coords, dtype=torch.float32)], dim=1),
        torch.cat([prompts.labels, torch.tensor(labels, dtype=torch.int32)], dim=1),
        prompts.masks,
        prompts.place,
    )
