"""Principal components as colours: exact, and the same on every call. DESIGN section 5, "PCA"."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featsvc.engines.results import Floats, Geometry
from featsvc.engines.upsample import axis_weights, to_pixels
from featsvc.v1.schema import InterpolationMode

COMPONENTS = 3


def grid_colours(features: Tensor, q_min: float, q_max: float) -> Floats:
    """Colours of each cell, h x w x 3 in [0, 1], from features h x w x D."""
    height, width, _ = features.shape
    vectors = features.detach().to("cpu", torch.float64).flatten(0, 1)
    centred = vectors - vectors.mean(dim=0)
    projected = centred @ principal(centred)
    return _colours(projected.view(height, width, -1), q_min, q_max)


def pixel_colours(
    features: Tensor, geometry: Geometry, mode: InterpolationMode, quantiles: tuple[float, float]
) -> Floats:
    """Colours of each pixel, H x W x 3: the components of the *upsampled* features, which are never made.

    With U = (V x W) X for features X and the interpolation's matrices V and W, mean and covariance of U need
    only V'V and W'W, which are as small as the grid; the projection of U is the upsampled projection of X.
    """
    vectors = features.detach().to("cpu", torch.float64)
    vertical, horizontal = axis_weights(geometry, mode)
    mean = torch.einsum("h,w,hwd->d", vertical.mean(dim=0), horizontal.mean(dim=0), vectors)
    # Rows of V and W sum to one, so what is centred on the grid is centred among the pixels.
    centred = vectors - mean
    weighted = torch.einsum("ih,hwd->iwd", _root(vertical.T @ vertical), centred)
    weighted = torch.einsum("jw,iwd->ijd", _root(horizontal.T @ horizontal), weighted)
    projected = centred @ principal(weighted.flatten(0, 1))
    pixels = to_pixels(projected.permute(2, 0, 1), geometry, mode)
    return _colours(pixels.permute(1, 2, 0), *quantiles)


def principal(centred: Tensor) -> Tensor:
    """The strongest right singular vectors of N x D, as D x 3, the largest absolute weight of each positive.

    By `eigh` of the smaller of the two Gram matrices. Missing components (fewer than 3 cells) are zero.
    """
    count, channels = centred.shape
    if channels <= count:
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        axes = vectors[:, -COMPONENTS:].flip(1)
    else:
        _, left = torch.linalg.eigh(centred @ centred.T)
        axes = torch.nn.functional.normalize(centred.T @ left[:, -COMPONENTS:].flip(1), dim=0)
    strongest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = torch.where(strongest < 0, -axes, axes)
    return torch.nn.functional.pad(axes, (0, COMPONENTS - axes.shape[1]))


def _root(gram: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(gram)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _colours(projected: Tensor, q_min: float, q_max: float) -> Floats:
    """Each component's quantile range brought to [0, 1]; a component without any range is 0.

    np.quantile interpolates as torch.quantile does, which refuses more than 16 million elements.
    """
    values = projected.numpy()
    low, high = np.quantile(values, (q_min, q_max), axis=(0, 1))
    span = high - low
    scaled = (values - low) / np.where(span > _noise(values), span, np.inf)
    colours: Floats = np.clip(scaled, 0.0, 1.0).astype(np.float32)
    return colours


def _noise(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """A range that rounding alone can make."""
    return float(np.abs(values).max(initial=0.0)) * 1e-9
