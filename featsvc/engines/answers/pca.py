"""Principal components as colours: exact, and the same on every call (docs/formulas.md)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from featsvc.engines.geometry.upsample import axis_weights, to_pixels
from featsvc.engines.running.steps import step
from featsvc.engines.running.transfer import on_device, on_host
from featsvc.v1.schema import InterpolationMode
from featsvc.work.results import Floats, Geometry

COMPONENTS = 3
MOST_AT_ONCE = 1024
"""Rows of a matrix whose eigenvectors are all computed, in one piece."""
MOST_ON_DEVICE_BYTES = 1 << 26
"""Features in float32 of which a GPU makes what is needed in float64, several times as much."""
ROUNDING = 1e-6
"""Parts of the features' length that rounding to float32 and the sums of a network can make of nothing."""


def grid_colours(features: Tensor, q_min: float, q_max: float) -> Floats:
    """Colours of each cell, h x w x 3 in [0, 1], from features h x w x D."""
    height, width, _ = features.shape
    vectors = _precise(features).flatten(0, 1)
    centred = vectors - vectors.mean(dim=0)
    least = _least(vectors)
    projected = centred @ principal(centred, least * len(centred) ** 0.5)
    return _colours(projected.view(height, width, -1), q_min, q_max, least)


def pixel_colours(
    features: Tensor, geometry: Geometry, mode: InterpolationMode, q_min: float, q_max: float
) -> Floats:
    """Colours of each pixel, H x W x 3: the components of the *upsampled* features, which are never made.

    With U = (V x W) X for features X and the interpolation's matrices V and W, mean and covariance of U need
    only V'V and W'W, which are as small as the grid; the projection of U is the upsampled projection of X.
    """
    vectors = _precise(features)
    vertical, horizontal = axis_weights(geometry, mode)
    along, across = (on_device(each.mean(dim=0), vectors.device) for each in (vertical, horizontal))
    mean = torch.einsum("h,w,hwd->d", along, across, vectors)
    # Rows of V and W sum to one, so what is centred on the grid is centred among the pixels.
    centred = vectors - mean
    tall, wide = (on_device(_root(each.T @ each), vectors.device) for each in (vertical, horizontal))
    weighted = torch.einsum("ih,hwd->iwd", tall, centred)
    weighted = torch.einsum("jw,iwd->ijd", wide, weighted)
    least = _least(vectors.flatten(0, 1))
    count = len(vertical) * len(horizontal)
    projected = centred @ principal(weighted.flatten(0, 1), least * count**0.5)
    pixels = to_pixels(projected.permute(2, 0, 1), geometry, mode)
    return _colours(pixels.permute(1, 2, 0), q_min, q_max, least)


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


def _colours(projected: Tensor, q_min: float, q_max: float, least: Tensor) -> Floats:
    """Each component's quantile range brought to [0, 1]; a component with a range of at most `least` is 0.

    np.quantile interpolates as torch.quantile does, which refuses more than 16 million elements.
    """
    narrowest, components = on_host(least, projected)
    values = components.numpy()
    low, high = np.quantile(values, (q_min, q_max), axis=(0, 1))
    span = high - low
    scaled = (values - low) / np.where(span > float(narrowest), span, np.inf)
    colours: Floats = np.clip(scaled, 0.0, 1.0).astype(np.float32)
    return colours
