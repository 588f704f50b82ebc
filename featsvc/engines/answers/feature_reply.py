"""From the features of patches to the answer that was asked for: components, pixels, places, order of axes, type."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from featsvc.engines.answers.axes import Target
from featsvc.engines.answers.basis import Basis
from featsvc.engines.answers.pca import Scaled, colours, fitted, projected
from featsvc.engines.answers.rounding import array_of, in_order, narrowed, rounding_of
from featsvc.engines.geometry.sampling import sampled, window, windowed
from featsvc.engines.geometry.upsample import to_pixels
from featsvc.engines.running.homeward import Later, when_home
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    DinoExtractFeaturesParams,
    TensorFormat,
)
from featsvc.work.results import Features, Geometry

FeatureParams = ClipExtractFeaturesParams | DinoExtractFeaturesParams


class Known(NamedTuple):
    """What is known of features before they are computed."""

    geometry: Geometry
    """How their grid lies on the picture."""
    space: str
    """Of what model and which reading they are."""
    basis: Basis | None
    """Of earlier components, where the request names one, or of those of several pictures."""


def feature_reply(features: Tensor, known: Known, params: FeatureParams) -> Later[Features]:
    """The answer from features h x w x D on the grid, which begins to come home."""
    geometry = known.geometry
    if params.points:
        return _answer(sampled(features, params.points, geometry), geometry, params)
    if params.region is not None:
        rows, columns = window(params.region, geometry)
        return _answer(features[rows, columns], windowed(geometry, rows, columns), params)
    if params.ret_pca:
        return _components(features, known, params)
    if params.ret_patches:
        return _answer(features, geometry, params)
    pixels = to_pixels(features.permute(2, 0, 1), geometry, params.interpolation_mode)
    return _answer(pixels.permute(1, 2, 0), geometry, params)


def target_of(geometry: Geometry, params: FeatureParams) -> Target | None:
    """The pixels that components are wanted of; None: the cells."""
    return None if params.ret_patches else Target(geometry, params.interpolation_mode)


def scaled_by(params: FeatureParams) -> Scaled:
    """How components become colours."""
    return Scaled(params.pca_q_min, params.pca_q_max, params.pca_foreground)


def _components(features: Tensor, known: Known, params: FeatureParams) -> Later[Features]:
    """The principal components of all cells or pixels."""
    geometry, space, basis = known
    target = target_of(geometry, params)
    if basis is not None:
        projection = projected(features, basis, target)
    else:
        basis, projection = fitted(features, scaled_by(params), target)
        if params.ret_pca_basis:
            # As whoever asks with its name will see it.
            basis = basis.rounded()
            projection = projected(features, basis, target)
    answer = _answer(torch.from_numpy(colours(projection, basis)), geometry, params)
    name = basis.name(space) if params.ret_pca_basis else ""
    return answer.then(lambda made: replace(made, pca_basis=name)) if name else answer


def _answer(values: Tensor, geometry: Geometry, params: FeatureParams) -> Later[Features]:
    """The answer of values … x D: rounded while they are on the device, in the order of axes asked for."""
    small, beside = narrowed(values, params.dtype)
    is_chw = params.tensor_format is TensorFormat.CHW and small.ndim == 3
    if is_chw:
        small = small.permute(2, 0, 1)

    # Else what is on the device would be held until the answer is written.
    dtype = small.dtype

    def features(home: Tensor, *beside: Tensor) -> Features:
        rounding = rounding_of(*beside)
        if is_chw and rounding is not None and rounding.scale is not None:
            rounding = replace(rounding, scale=rounding.scale[:, None, None])
        return Features(array_of(home, dtype), params.ret_pca, geometry, params.dtype, rounding)

    return when_home(features, in_order(small), *beside)
