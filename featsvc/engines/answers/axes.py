"""The strongest directions of features, of one picture or of several (docs/formulas.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from featsvc.engines.answers.basis import COMPONENTS
from featsvc.engines.geometry.upsample import axis_weights
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.v1.schema import InterpolationMode
from featsvc.work.results import Geometry

MOST_AT_ONCE = 1024
"""Rows of a matrix whose eigenvectors are all computed, in one piece."""
ROUNDING = 1e-6
"""Parts of the features' length that rounding to float32 and the sums of a network can make of nothing."""


class Target(NamedTuple):
    """The pixels that colours are wanted of."""

    geometry: Geometry
    mode: InterpolationMode


class JoinedCells(NamedTuple):
    """The features of several pictures in float64."""

    every: Tensor
    """N x D, those of one picture after the other."""
    parts: list[Tensor]
    """h x w x D of each; they share the memory."""


class Axes(NamedTuple):
    """On the device of the features."""

    mean: Tensor
    columns: Tensor
    """D x 3."""
    least: Tensor
    """The range below which a component may be rounding alone."""


def cell_axes(vectors: Tensor) -> Axes:
    """Of vectors N x D."""
    mean, least = vectors.mean(dim=0), _least(vectors)
    return Axes(mean, principal(vectors - mean, least * len(vectors) ** 0.5), least)


def pixel_axes(vectors: JoinedCells, targets: Sequence[Target]) -> Axes:
    """Of the *upsampled* features, which are never made.

    With U = (V x W) X for features X and the interpolation's matrices V and W, mean and covariance of U need
    only V'V and W'W, which are as small as the grid; the projection of U is the upsampled projection of X.
    """
    weights = [axis_weights(*each) for each in targets]
    counts = [len(vertical) * len(horizontal) for vertical, horizontal in weights]
    count, mean = sum(counts), vectors.every.new_zeros(())
    for part, own, (vertical, horizontal) in zip(vectors.parts, counts, weights, strict=True):
        along, across = (on_device(each.mean(dim=0), part.device) for each in (vertical, horizontal))
        mean = mean + torch.einsum("h,w,hwd->d", along, across, part) * (own / count)
    rows = []
    for part, (vertical, horizontal) in zip(vectors.parts, weights, strict=True):
        # Rows of V and W sum to one, so what is centred on the grid is centred among the pixels.
        tall, wide = (on_device(_root(each.T @ each), part.device) for each in (vertical, horizontal))
        weighted = torch.einsum("ih,hwd->iwd", tall, part - mean)
        rows.append(torch.einsum("jw,iwd->ijd", wide, weighted).flatten(0, 1))
    least = _least(vectors.every)
    return Axes(mean, principal(joined(rows), least * count**0.5), least)


def joined(rows: Sequence[Tensor]) -> Tensor:
    """One after the other; of a single one not even a copy."""
    return torch.cat(list(rows)) if len(rows) > 1 else rows[0]


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
