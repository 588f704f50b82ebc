"""Refuses features of too many bytes before any is computed, and says what would make them fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.engines.answers.axes import MOST_AT_ONCE
from featsvc.engines.answers.basis import COMPONENTS, named
from featsvc.engines.answers.feature_reply import FeatureParams, Known
from featsvc.engines.answers.limits import check_json, check_reply, check_rounded, float_bytes
from featsvc.engines.answers.rounding import ITEM_BYTES
from featsvc.engines.geometry.sampling import check_points, window
from featsvc.engines.geometry.upsample import axis_bytes
from featsvc.errors import ReplyTooLarge, invalid_field
from featsvc.v1.schema import DinoExtractFeaturesParams, FeatureDType
from featsvc.work.item import Way
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry

TOGETHER = "params.pca_digests"
"""The field that names pictures over which a basis is fitted together."""


@dataclass(frozen=True)
class FeatureKind:
    """What kind of features are asked for."""

    channels: int
    space: str
    """Of what model and which reading they are: a basis of components fits features of its own space."""


def check_features(
    geometry: Geometry, kind: FeatureKind, params: FeatureParams, options: EngineOptions, way: Way
) -> Known:
    """Refuses places outside the picture, a basis that does not fit, and features of too many bytes: in the answer,
    or for it to be made of. Answers what is known of those that pass."""
    channels = kind.channels
    basis = None if params.pca_basis is None else named(params.pca_basis, kind.space, channels)
    check_points(params.points, geometry)
    cells = geometry.grid_height * geometry.grid_width
    if params.ret_pca or params.points or params.region is not None:
        check_whole(cells, channels, _smaller_grid(params), options)
    if params.ret_pca and basis is None:
        _check_components(cells, channels, params, options)
    if params.ret_pca and not params.ret_patches:
        check_axes(geometry, options)
    channels = COMPONENTS if params.ret_pca else channels
    count = _places(geometry, params) * channels
    item = ITEM_BYTES[params.dtype]
    remedy = _remedy(count, cells * channels * item, params, way)
    check_reply(count * item, options, remedy, way)
    check_json(count * item, way, remedy)
    check_rounded(count, params.dtype, options, remedy)
    return Known(geometry, kind.space, basis)


def check_together(
    geometries: Sequence[Geometry], channels: int, params: FeatureParams, options: EngineOptions
) -> None:
    """Refuses pictures that are too much for one basis to be fitted over all of them."""
    count, cells = len(geometries), sum(each.grid_height * each.grid_width for each in geometries)
    told, fewer = f"of the {count} pictures together", f"name fewer pictures, or take {_smaller(params)}"
    nbytes, side = float_bytes((cells, channels)), min(cells, channels)
    if nbytes > options.max_feature_bytes:
        message = (
            f"{cells} x {channels} features {told} are {nbytes} bytes, at most {options.max_feature_bytes}"
        )
        raise invalid_field(TOGETHER, f"{message} (--max-feature-bytes): {fewer}")
    if side > options.max_pca_side:
        message = (
            f"components of {cells} x {channels} features {told} need a matrix of {side} x {side}, at most"
        )
        raise invalid_field(TOGETHER, f"{message} {options.max_pca_side} (--max-pca-side): {fewer}")
    if params.ret_patches:
        return
    nbytes = float_bytes((sum(each.resized_height * each.resized_width for each in geometries), COMPONENTS))
    if nbytes > options.max_feature_bytes:
        message = f"components of all pixels {told} are {nbytes} bytes, at most {options.max_feature_bytes}"
        raise invalid_field(TOGETHER, f"{message} (--max-feature-bytes): take ret_patches true, or {fewer}")
    check_axes(geometries[-1], options)


def check_axes(geometry: Geometry, options: EngineOptions) -> None:
    """Refuses pixels that are computed axis by axis where a matrix of one would fill the memory."""
    longest = max(geometry.grid_height, geometry.grid_width)
    if axis_bytes(geometry) > options.max_feature_bytes or longest > MOST_AT_ONCE:
        message = f"a grid of {geometry.grid_width} x {geometry.grid_height} cells is too long to be brought to pixels"
        raise invalid_field("params.ret_patches", f"{message}: take ret_patches true or a smaller load_size")


def _places(geometry: Geometry, params: FeatureParams) -> int:
    """Points, cells or pixels of the answer."""
    if params.points:
        return len(params.points)
    if params.region is not None:
        rows, columns = window(params.region, geometry)
        return len(range(*rows.indices(geometry.grid_height))) * len(
            range(*columns.indices(geometry.grid_width))
        )
    if params.ret_patches:
        return geometry.grid_height * geometry.grid_width
    return geometry.resized_height * geometry.resized_width


def _remedy(count: int, grid_bytes: int, params: FeatureParams, way: Way) -> str:
    """What makes fewer bytes of so many elements, or allows more."""
    ways = [] if params.ret_patches else [f"ret_patches true ({grid_bytes} bytes)"]
    if params.dtype is FeatureDType.FLOAT32:
        ways.append(f"dtype float16 ({2 * count} bytes)")
    if way.json is not None:
        ways.append("Accept: application/octet-stream")
    elif not way.chunked:
        ways.append("ExtractFeaturesChunked")
    ways.append("fewer points" if params.points else "a smaller load_size")
    *others, last = ways
    return f"{', '.join(others)} or {last} makes it fit" if others else f"{last} makes it fit"


def check_whole(cells: int, channels: int, remedy: str, options: EngineOptions) -> None:
    """Refuses features of which the answer is a small part, if all of them are more than memory should hold."""
    nbytes = float_bytes((cells, channels))
    if nbytes > options.max_feature_bytes:
        message = f"the answer is made of {cells} x {channels} features, which are {nbytes} bytes"
        raise ReplyTooLarge(f"{message}, at most {options.max_feature_bytes}: {remedy}")


def _check_components(cells: int, channels: int, params: FeatureParams, options: EngineOptions) -> None:
    """Refuses principal components that would take minutes."""
    side = min(cells, channels)
    if side > options.max_pca_side:
        message = f"components of {cells} x {channels} features need a matrix of {side} x {side}"
        raise ReplyTooLarge(f"{message}, at most {options.max_pca_side}: {_smaller_grid(params)}")


def _smaller_grid(params: FeatureParams) -> str:
    return f"{_smaller(params)} makes it fit"


def _smaller(params: FeatureParams) -> str:
    binned = isinstance(params, DinoExtractFeaturesParams) and params.bin
    return f"a smaller load_size{' or bin false' if binned else ''}"
