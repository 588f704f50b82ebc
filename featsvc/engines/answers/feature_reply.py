"""From the features of patches to the answer that was asked for: components, pixels, places, order of axes, type."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featsvc.engines.answers.pca import grid_colours, pixel_colours
from featsvc.engines.answers.rounding import rounded
from featsvc.engines.geometry.sampling import sampled, window, windowed
from featsvc.engines.geometry.upsample import to_pixels
from featsvc.engines.running.transfer import on_host
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    DinoExtractFeaturesParams,
    FeatureDType,
    TensorFormat,
)
from featsvc.work.results import Features, Geometry, Rounding

FeatureParams = ClipExtractFeaturesParams | DinoExtractFeaturesParams


def feature_reply(features: Tensor, geometry: Geometry, params: FeatureParams) -> Features:
    """The answer from features h x w x D on the grid."""
    if params.points:
        return _answer(sampled(features, params.points, geometry), geometry, params)
    if params.region is not None:
        rows, columns = window(params.region, geometry)
        return _answer(features[rows, columns], windowed(geometry, rows, columns), params)
    return _answer(_hwc(features, geometry, params), geometry, params)


def _hwc(features: Tensor, geometry: Geometry, params: FeatureParams) -> Tensor:
    """What is asked for of the whole picture, height x width x channels."""
    quantiles = params.pca_q_min, params.pca_q_max
    if params.ret_pca and params.ret_patches:
        return torch.from_numpy(grid_colours(features, *quantiles))
    if params.ret_pca:
        return torch.from_numpy(pixel_colours(features, geometry, params.interpolation_mode, *quantiles))
    if params.ret_patches:
        return features
    return to_pixels(features.permute(2, 0, 1), geometry, params.interpolation_mode).permute(1, 2, 0)


def _answer(values: Tensor, geometry: Geometry, params: FeatureParams) -> Features:
    """The answer of values … x D: rounded while they are on the device, in the order of axes asked for."""
    small, rounding = rounded(values, params.dtype)
    if params.tensor_format is TensorFormat.CHW and small.ndim == 3:
        small = small.permute(2, 0, 1)
        if rounding is not None and rounding.scale is not None:
            scale = rounding.scale[:, None, None]
            rounding = Rounding(rounding.largest_error, rounding.mean_error, scale)
    if params.dtype is FeatureDType.BFLOAT16:
        small = small.view(torch.int16)
    # In its order before it comes home: a GPU takes a fraction of the time for that.
    (answer,) = on_host(small.contiguous())
    array = answer.numpy()
    if params.dtype is FeatureDType.BFLOAT16:
        array = array.view(np.uint16)
    return Features(array, params.ret_pca, geometry, params.dtype, rounding)
