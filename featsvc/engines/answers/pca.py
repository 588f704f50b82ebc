"""Principal components as colours: exact, and the same on every call (docs/formulas.md)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from featsvc.engines.answers.basis import COMPONENTS, Basis
from featsvc.engines.geometry.upsample import axis_weights, to_pixels
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.v1.schema import InterpolationMode
from featsvc.work.results import Floats, Geometry

MOST_AT_ONCE = 1024
"""Rows of a matrix whose eigenvectors are all computed, in one piece."""
MOST_ON_DEVICE_BYTES = 1 << 26
"""Features in float32 of which a GPU makes what is needed in float64, several times as much."""
ROUNDING = 1e-6
"""Parts of the features' length that rounding to float32 and the sums of a network can make of nothing."""


class Scaled(NamedTuple):
    """How components become colours."""

    q_min: float
    """Quantile that becomes 0."""
    q_max: float
    """Quantile that becomes 1."""
    is_foreground: bool = False
    """Whether only the foreground counts and is shown."""


class Target(NamedTuple):
    """The pixels that colours are wanted of."""

    geometry: Geometry
    mode: InterpolationMode


class Projection(NamedTuple):
    """Features along the axes of a basis."""

    components: Tensor
    """h x w x 3, or H x W x 3, float64."""
    is_shown: Tensor | None
    """Which of them are of the foreground, h x w or H x W; None: all."""


class FittedBasis(NamedTuple):
    """A basis, and the features that it was made of in it."""

    basis: Basis
    projection: Projection


def fitted(features: Tensor, scaled: Scaled, target: Target | None = None) -> FittedBasis:
    """The basis of features h x w x D, of each cell or of each pixel of the target."""
    vectors = _precise(features)
    divide = _divide(vectors) if scaled.is_foreground else None
    if divide is not None:
        axes = _cell_axes(vectors[_is_above(vectors, divide)])
    else:
        axes = _cell_axes(vectors.flatten(0, 1)) if target is None else _pixel_axes(vectors, target)
    projection = _projected(vectors, axes, divide, target)
    components, least, mean, columns = on_host(projection.components, axes.least, axes.mean, axes.columns)
    shown = components
    if projection.is_shown is not None:
        # Of a single cell's peak interpolation may leave no pixel.
        shown = components[on_host(projection.is_shown)[0]] if bool(projection.is_shown.any()) else components
    # As torch.quantile interpolates, which refuses more than 16 million elements.
    low, high = np.quantile(shown.reshape(-1, COMPONENTS).numpy(), (scaled.q_min, scaled.q_max), axis=0)
    high = np.where(high - low > float(least), high, low)
    own = None if divide is None else on_host(divide)[0]
    return FittedBasis(Basis(mean, columns, low, high, own), Projection(components, projection.is_shown))


def projected(features: Tensor, basis: Basis, target: Target | None = None) -> Projection:
    """Features h x w x D in a basis that was made of others."""
    vectors = _precise(features)
    mean, columns = (on_device(each, vectors.device) for each in (basis.mean, basis.axes))
    divide = None if basis.divide is None else on_device(basis.divide, vectors.device)
    return _projected(vectors, _Axes(mean, columns, mean.new_zeros(())), divide, target)


def colours(projection: Projection, basis: Basis) -> Floats:
    """The range of each component brought to [0, 1]; what is not of the foreground is 0, and so is a component that
    is not there."""
    (components,) = on_host(projection.components)
    span = basis.high - basis.low
    scaled = (components.numpy() - basis.low) / np.where(span > 0, span, np.inf)
    made: Floats = np.clip(scaled, 0.0, 1.0).astype(np.float32)
    if projection.is_shown is not None:
        made *= on_host(projection.is_shown)[0].numpy()[..., None]
    return made


class _Axes(NamedTuple):
    """On the device of the features."""

    mean: Tensor
    columns: Tensor
    """D x 3."""
    least: Tensor
    """The range below which a component may be rounding alone."""


def _cell_axes(vectors: Tensor) -> _Axes:
    """Of vectors N x D."""
    mean, least = vectors.mean(dim=0), _least(vectors)
    return _Axes(mean, principal(vectors - mean, least * len(vectors) ** 0.5), least)


def _pixel_axes(vectors: Tensor, target: Target) -> _Axes:
    """Of the *upsampled* features, which are never made.

    With U = (V x W) X for features X and the interpolation's matrices V and W, mean and covariance of U need
    only V'V and W'W, which are as small as the grid; the projection of U is the upsampled projection of X.
    """
    vertical, horizontal = axis_weights(*target)
    along, across = (on_device(each.mean(dim=0), vectors.device) for each in (vertical, horizontal))
    mean = torch.einsum("h,w,hwd->d", along, across, vectors)
    # Rows of V and W sum to one, so what is centred on the grid is centred among the pixels.
    centred = vectors - mean
    tall, wide = (on_device(_root(each.T @ each), vectors.device) for each in (vertical, horizontal))
    weighted = torch.einsum("ih,hwd->iwd", tall, centred)
    weighted = torch.einsum("jw,iwd->ijd", wide, weighted)
    least = _least(vectors.flatten(0, 1))
    count = len(vertical) * len(horizontal)
    return _Axes(mean, principal(weighted.flatten(0, 1), least * count**0.5), least)


def _projected(vectors: Tensor, axes: _Axes, divide: Tensor | None, target: Target | None) -> Projection:
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


def _divide(vectors: Tensor) -> Tensor:
    """Between foreground and background of vectors h x w x D, as `Basis.divide`.

    Along the strongest axis, at the mean; the background is the side that has more of the cells at the border.
    """
    flat = vectors.flatten(0, 1)
    axes = _cell_axes(flat)
    axis = axes.columns[:, 0]
    if not bool(axis.any()):
        # Cells that are all alike have no background.
        return torch.cat([axis, axis.new_full((1,), -1.0)])
    is_border = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
    is_border[1:-1, 1:-1].zero_()
    at_border = ((vectors - axes.mean) @ axis)[is_border]
    if bool((at_border > 0).sum() * 2 > len(at_border)):
        axis = -axis
    return torch.cat([axis, (axes.mean @ axis)[None]])


def _precise(features: Tensor) -> Tensor:
    """In float64: on a GPU where they are not many, and else in the host's memory."""
    stay = features.device.type == "cuda" and features.nbytes <= MOST_ON_DEVICE_BYTES
    return features.detach().to(features.device if stay else "cpu", torch.float64)


def principal(centred: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """The strongest right singular vectors of N x D, as D x 3, the largest absolute weight of each positive.

    By `eigh` of the smaller of the two Gram matrices. Zeros stand for components that are missing: there are too few
    cells or channels, or their singular value is at most `least`, and what direction they have is rounding.
    """
    count, channels = centred.shape
    tall = channels <= count
    # The host's memory is where few numbers are quickly decomposed.
    eigen = _strongest(*on_host(centred.T @ centred if tall else centred @ centred.T))
    strengths, axes = (on_device(each, centred.device) for each in eigen)
    if not tall:
        axes = torch.nn.functional.normalize(centred.T @ axes, dim=0)
    strongest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = torch.where(strongest < 0, -axes, axes) * (strengths > least**2)
    return torch.nn.functional.pad(axes, (0, COMPONENTS - axes.shape[1]))


class _Eigen(NamedTuple):
    """Eigenvalues, and a vector n x 1 for each."""

    values: Tensor
    vectors: Tensor


def _strongest(gram: Tensor) -> _Eigen:
    """The three largest eigenvalues of a positive semidefinite matrix, and their eigenvectors, n x 3."""
    step()
    if len(gram) <= MOST_AT_ONCE:
        return _all_strongest(gram)
    # All eigenvectors take time with the cube of their number, in one piece. These three come by products, each
    # a step, to the same last digits; the start is arbitrary, and the same for all.
    start = np.random.default_rng(0).standard_normal(len(gram))

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        step()
        image: NDArray[np.float64] = (gram @ torch.from_numpy(vector)).numpy()
        return image

    operator = LinearOperator(gram.shape, matvec=product, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=COMPONENTS, which="LA", v0=start, tol=0)
    except ArpackError:
        return _all_strongest(gram)
    order = np.argsort(-values)
    return _Eigen(torch.from_numpy(values[order]), torch.from_numpy(vectors[:, order]))


def _all_strongest(gram: Tensor) -> _Eigen:
    values, vectors = torch.linalg.eigh(gram)
    return _Eigen(values[-COMPONENTS:].flip(0), vectors[:, -COMPONENTS:].flip(1))


def _least(vectors: Tensor) -> Tensor:
    """The deviation from the mean, of vectors N x D, below which it may be rounding alone."""
    return ROUNDING * vectors.square().sum(dim=1).mean().sqrt()


def _root(gram: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    step()
    values, vectors = torch.linalg.eigh(gram)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
