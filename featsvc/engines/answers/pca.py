"""Principal components as colours: exact, and the same on every call (docs/formulas.md)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from featsvc.engines.answers.axes import Axes, JoinedCells, Target, cell_axes, joined, pixel_axes
from featsvc.engines.answers.basis import Basis
from featsvc.engines.geometry.upsample import to_pixels
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.work.results import Floats

MOST_ON_DEVICE_BYTES = 1 << 26
"""Features in float32 of which a GPU makes what is needed in float64, several times as much."""


class Scaled(NamedTuple):
    """How components become colours."""

    q_min: float
    """Quantile that becomes 0."""
    q_max: float
    """Quantile that becomes 1."""
    is_foreground: bool = False
    """Whether only the foreground counts and is shown."""


class Cells(NamedTuple):
    """The features of a picture."""

    features: Tensor
    """h x w x D."""
    target: Target | None = None
    """The pixels that are meant; None: the cells themselves."""


class _PreciseCells(NamedTuple):
    """The features of several pictures in float64, and the pixels that are meant of each."""

    vectors: JoinedCells
    targets: list[Target | None]


class Projection(NamedTuple):
    """Features along the axes of a basis."""

    components: Tensor
    """h x w x 3, or H x W x 3, float64."""
    is_shown: Tensor | None
    """Which of them are of the foreground, h x w or H x W; None: all."""

    @property
    def shown(self) -> Tensor:
        """Those of the foreground, n x 3."""
        return self.components.flatten(0, 1) if self.is_shown is None else self.components[self.is_shown]


class FittedBasis(NamedTuple):
    """A basis, and the features that it was made of in it."""

    basis: Basis
    projection: Projection


def fitted(features: Tensor, scaled: Scaled, target: Target | None = None) -> FittedBasis:
    """The basis of features h x w x D, of each cell or of each pixel of the target."""
    basis, (projection,) = _fitted(_precise_cells([Cells(features, target)]), scaled)
    return FittedBasis(basis, projection)


def fitted_together(pictures: Iterable[Cells], scaled: Scaled) -> Basis:
    """The basis of all cells, or of all pixels, of several pictures; the order of these decides about last bits.

    Each is taken when those before it have left the device, where they are too much for that.
    """
    return _fitted(_precise_cells(pictures), scaled)[0]


def _fitted(cells: _PreciseCells, scaled: Scaled) -> tuple[Basis, list[Projection]]:
    """The same, and each picture in it."""
    vectors, targets = cells
    divide = _divide(vectors) if scaled.is_foreground else None
    if divide is not None:
        axes = cell_axes(joined([part[_is_above(part, divide)] for part in vectors.parts]))
    elif targets[0] is None:
        axes = cell_axes(vectors.every)
    else:
        axes = pixel_axes(vectors, [each for each in targets if each is not None])
    projections = [
        _projected(part, axes, divide, target) for part, target in zip(vectors.parts, targets, strict=True)
    ]
    masks = [each.is_shown for each in projections if each.is_shown is not None]
    components = [each.components for each in projections]
    divides = () if divide is None else (divide,)
    least, mean, columns, *parts = on_host(axes.least, axes.mean, axes.columns, *components, *masks, *divides)
    own = None if divide is None else parts.pop()
    count = len(projections)
    home = [Projection(*each) for each in zip_longest(parts[:count], parts[count:])]
    shown = joined([each.shown for each in home])
    # Of a single cell's peak interpolation may leave no pixel.
    shown = shown if len(shown) else joined([each.components.flatten(0, 1) for each in home])
    # As torch.quantile interpolates, which refuses more than 16 million elements.
    low, high = np.quantile(shown.numpy(), (scaled.q_min, scaled.q_max), axis=0)
    high = np.where(high - low > float(least), high, low)
    return Basis(mean, columns, low, high, own), home


def projected(features: Tensor, basis: Basis, target: Target | None = None) -> Projection:
    """Features h x w x D in a basis that was made of others."""
    vectors = _precise(features, features.nbytes)
    mean, columns = (on_device(each, vectors.device) for each in (basis.mean, basis.axes))
    divide = None if basis.divide is None else on_device(basis.divide, vectors.device)
    return _projected(vectors, Axes(mean, columns, mean.new_zeros(())), divide, target)


def colours(projection: Projection, basis: Basis) -> Floats:
    """The range of each component brought to [0, 1]; what is not of the foreground is 0, and so is a component that
    is not there."""
    masks = () if projection.is_shown is None else (projection.is_shown,)
    components, *shown = on_host(projection.components, *masks)
    span = basis.high - basis.low
    scaled = (components.numpy() - basis.low) / np.where(span > 0, span, np.inf)
    made: Floats = np.clip(scaled, 0.0, 1.0).astype(np.float32)
    for each in shown:
        made *= each.numpy()[..., None]
    return made


def _projected(vectors: Tensor, axes: Axes, divide: Tensor | None, target: Target | None) -> Projection:
    components = (vectors - axes.mean) @ axes.columns
    is_shown = None if divide is None else _is_above(vectors, divide)
    if target is None:
        return Projection(components, is_shown)
    pixels = to_pixels(components.permute(2, 0, 1), *target).permute(1, 2, 0)
    if divide is not None:
        is_shown = to_pixels((vectors @ divide[:-1])[None], *target)[0] > divide[-1]
    return Projection(pixels, is_shown)


def _is_above(vectors: Tensor, divide: Tensor) -> Tensor:
    return vectors @ divide[:-1] > divide[-1]


def _divide(vectors: JoinedCells) -> Tensor:
    """Between foreground and background, as `Basis.divide`.

    Along the strongest axis, at the mean; the background is the side that has more of the cells at the border.
    """
    axes = cell_axes(vectors.every)
    axis = axes.columns[:, 0]
    if not bool(axis.any()):
        # Cells that are all alike have no background.
        return torch.cat([axis, axis.new_full((1,), -1.0)])
    at_border = ((vectors.every - axes.mean) @ axis)[joined([_is_border(part) for part in vectors.parts])]
    if bool((at_border > 0).sum() * 2 > len(at_border)):
        axis = -axis
    return torch.cat([axis, (axes.mean @ axis)[None]])


def _is_border(vectors: Tensor) -> Tensor:
    """Which of cells h x w x D are the outermost, row by row."""
    is_border = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
    is_border[1:-1, 1:-1].zero_()
    return is_border.flatten()


def _precise_cells(pictures: Iterable[Cells]) -> _PreciseCells:
    parts, targets, nbytes = list[Tensor](), list[Target | None](), 0
    for features, target in pictures:
        nbytes += features.nbytes
        parts.append(features)
        targets.append(target)
        del features  # the next one is made while these are held
        parts = [_precise(each, nbytes) for each in parts]
    every = joined([each.flatten(0, 1) for each in parts])
    sizes = [each.shape for each in parts]
    split = torch.split(every, [height * width for height, width, _ in sizes])
    vectors = JoinedCells(every, [part.view(size) for part, size in zip(split, sizes, strict=True)])
    return _PreciseCells(vectors, targets)


def _precise(features: Tensor, nbytes: int) -> Tensor:
    """In float64: on a GPU where all of them in float32 are not many, and else in the host's memory."""
    stay = features.device.type == "cuda" and nbytes <= MOST_ON_DEVICE_BYTES
    return features.detach().to(features.device if stay else "cpu", torch.float64)
