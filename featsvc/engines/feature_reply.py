"""From the features of patches to the answer that was asked for: components, pixels, order of axes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from featsvc.engines.options import EngineOptions
from featsvc.engines.pca import COMPONENTS, grid_colours, pixel_colours
from featsvc.engines.reply_size import check_reply, float_bytes
from featsvc.engines.results import Features, Floats, Geometry
from featsvc.engines.upsample import to_pixels
from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import ClipExtractFeaturesParams, DinoExtractFeaturesParams, TensorFormat

FeatureParams = ClipExtractFeaturesParams | DinoExtractFeaturesParams


def check_feature_reply(
    geometry: Geometry, channels: int, params: FeatureParams, options: EngineOptions
) -> None:
    """Refuses features of too many bytes, in the answer or before they are reduced to their components."""
    if params.ret_pca:
        _check_components(geometry.grid_height * geometry.grid_width, channels, params, options)
        channels = COMPONENTS
    grid = float_bytes((geometry.grid_height, geometry.grid_width, channels))
    if params.ret_patches:
        check_reply(grid, options, "a smaller load_size makes it fit")
        return
    full = float_bytes((geometry.resized_height, geometry.resized_width, channels))
    check_reply(full, options, f"ret_patches true ({grid} bytes) or a smaller load_size makes it fit")


def _check_components(cells: int, channels: int, params: FeatureParams, options: EngineOptions) -> None:
    """Refuses principal components of more than memory should hold, or that would take minutes."""
    binned = isinstance(params, DinoExtractFeaturesParams) and params.bin
    remedy = f"a smaller load_size{' or bin false' if binned else ''} makes it fit"
    nbytes = float_bytes((cells, channels))
    if nbytes > options.max_feature_bytes:
        message = f"components of {cells} x {channels} features, which are {nbytes} bytes"
        raise ReplyTooLarge(f"{message}, at most {options.max_feature_bytes}: {remedy}")
    side = min(cells, channels)
    if side > options.max_pca_side:
        message = f"components of {cells} x {channels} features need a matrix of {side} x {side}"
        raise ReplyTooLarge(f"{message}, at most {options.max_pca_side}: {remedy}")


def feature_reply(features: Tensor, geometry: Geometry, params: FeatureParams) -> Features:
    """The answer from features h x w x D on the grid."""
    values = _hwc(features, geometry, params)
    if params.tensor_format is TensorFormat.CHW:
        values = values.transpose(2, 0, 1)
    return Features(np.ascontiguousarray(values), params.ret_pca, geometry)


def _hwc(features: Tensor, geometry: Geometry, params: FeatureParams) -> Floats:
    quantiles = params.pca_q_min, params.pca_q_max
    if params.ret_pca and params.ret_patches:
        return grid_colours(features, *quantiles)
    if params.ret_pca:
        return pixel_colours(features, geometry, params.interpolation_mode, quantiles)
    if not params.ret_patches:
        features = to_pixels(features.permute(2, 0, 1), geometry, params.interpolation_mode).permute(1, 2, 0)
    values: Floats = features.float().cpu().numpy()
    return values
