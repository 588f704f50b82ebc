"""Smaller element types of features, and what the answer says of their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featsvc.engines.answers.rounding import rounded
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import ClipExtractFeaturesParams, FeatureDType
from featsvc.work.item import Way
from featsvc.work.operations import EXTRACT_CLIP
from featsvc.work.results import Features
from tests.engines import models

SMALL = [FeatureDType.FLOAT16, FeatureDType.BFLOAT16, FeatureDType.INT8]
NUMPY = {"float16": np.float16, "bfloat16": np.uint16, "int8": np.int8}


def extract(engines: Engines, model: ClipModel, chunked: bool = False, **options: object) -> Features:
    params = ClipExtractFeaturesParams(**{"load_size": 48, **options})
    item = models.item_of(models.picture(75, 50), way=Way(chunked))
    found = models.answer(engines, EXTRACT_CLIP.rpc, item, params, model)
    assert isinstance(found, Features)
    return found


def widened(features: Features) -> np.ndarray:
    """The features as a client reads them."""
    if features.dtype is FeatureDType.BFLOAT16:
        return (features.features.astype(np.uint32) << 16).view(np.float32)
    scale = features.rounding.scale if features.rounding else None
    return features.features.astype(np.float32) * (1 if scale is None else scale)


@pytest.mark.parametrize("band", [1 << 20, 300])
@pytest.mark.parametrize(
    "options",
    [{}, {"tensor_format": "CHW"}, {"ret_patches": False}, {"points": ((9, 9), (30, 20), (50.5, 31))}],
)
@pytest.mark.parametrize("dtype", SMALL)
def test_the_errors_of_a_smaller_type_are_those_that_it_says(
    engines: Engines,
    demo_clip: ClipModel,
    monkeypatch: pytest.MonkeyPatch,
    dtype: FeatureDType,
    options: dict[str, object],
    band: int,
) -> None:
    monkeypatch.setattr("featsvc.engines.answers.rounding.BAND_ELEMENTS", band)
    exact, small = (extract(engines, demo_clip, dtype=each, **options) for each in ("float32", dtype.value))
    assert exact.rounding is None
    assert exact.dtype is FeatureDType.FLOAT32
    assert small.dtype is dtype
    assert small.features.dtype == NUMPY[dtype.value]
    assert small.features.shape == exact.features.shape
    assert small.features.flags.c_contiguous
    assert small.rounding is not None
    errors = np.abs(widened(small) - exact.features)
    assert small.rounding.largest_error == pytest.approx(errors.max(), rel=1e-5)
    assert small.rounding.mean_error == pytest.approx(errors.mean(), rel=1e-4)
    assert 0 < small.rounding.mean_error < small.rounding.largest_error < 0.02 * np.abs(exact.features).max()


@pytest.mark.parametrize(("order", "shape"), [("HWC", (128,)), ("CHW", (128, 1, 1))])
def test_int8_has_one_scale_for_each_channel(
    engines: Engines, demo_clip: ClipModel, order: str, shape: tuple[int, ...]
) -> None:
    exact, small = (
        extract(engines, demo_clip, dtype=each, tensor_format=order) for each in ("float32", "int8")
    )
    assert small.rounding is not None
    scale = small.rounding.scale
    assert scale is not None
    assert scale.shape == shape
    assert scale.dtype == np.float32
    axis = 2 if order == "HWC" else 0
    largest = np.moveaxis(np.abs(exact.features), axis, -1).reshape(-1, 128).max(axis=0)
    np.testing.assert_allclose(scale.ravel() * 127, largest, rtol=1e-6)
    assert np.abs(small.features).max() == 127
    errors = np.abs(small.features * scale - exact.features)
    assert (errors <= scale * 0.5001).all()


def test_a_channel_without_values_does_no_harm_to_int8() -> None:
    features = torch.randn(4, 5, 3)
    features[..., 1] = 0
    small, rounding = rounded(features, FeatureDType.INT8)
    assert rounding is not None
    assert rounding.scale is not None
    assert (small[..., 1] == 0).all()
    assert np.isfinite(rounding.scale).all()


def test_bfloat16_rounds_to_nearest_even() -> None:
    # Halfway between two neighbours: 1 + 2^-8 goes down to 1, 1 + 3 * 2^-8 up to 1 + 2^-6.
    small, _ = rounded(torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8]]), FeatureDType.BFLOAT16)
    assert small.float().tolist() == [[1.0, 1 + 2**-6]]


def test_float16_stops_at_the_end_of_its_range() -> None:
    small, rounding = rounded(torch.tensor([[1e6, -7e4, 3.0]]), FeatureDType.FLOAT16)
    assert small.tolist() == [[65504.0, -65504.0, 3.0]]
    assert rounding is not None
    assert rounding.largest_error == pytest.approx(1e6 - 65504)


def test_components_come_in_smaller_types_too(engines: Engines, demo_clip: ClipModel) -> None:
    exact, small = (extract(engines, demo_clip, dtype=each, ret_pca=True) for each in ("float32", "float16"))
    assert small.is_pca
    np.testing.assert_allclose(small.features, exact.features, atol=5e-4)


def test_the_limit_of_a_reply_counts_the_bytes_of_its_type(demo_clip: ClipModel) -> None:
    cells = 3 * 5 * 128
    few = models.engines(max_reply_bytes=2 * cells, max_chunked_bytes=4 * cells)
    message = (
        rf"{4 * cells} bytes.*: dtype float16 \({2 * cells} bytes\), ExtractFeaturesChunked or a smaller load"
    )
    with pytest.raises(ReplyTooLarge, match=message):
        extract(few, demo_clip)
    for dtype in ("float16", "bfloat16", "int8"):
        assert extract(few, demo_clip, dtype=dtype).features.shape == (3, 5, 128)
    assert extract(few, demo_clip, chunked=True).features.shape == (3, 5, 128)
    with pytest.raises(
        ReplyTooLarge, match=rf"at most {4 * cells}: ret_patches true \({4 * cells} bytes\), dtype float16"
    ):
        extract(few, demo_clip, chunked=True, ret_patches=False)


def test_features_that_are_rounded_must_fit_as_they_are_first(demo_clip: ClipModel) -> None:
    cells = 3 * 5 * 128
    few = models.engines(max_reply_bytes=2 * cells, max_chunked_bytes=2 * cells)
    with pytest.raises(ReplyTooLarge, match=f"{4 * cells} bytes in float32, from which they are rounded"):
        extract(few, demo_clip, dtype="int8", chunked=True)


def test_no_rows_have_a_scale_of_one() -> None:
    small, rounding = rounded(torch.zeros(0, 3), FeatureDType.INT8)
    assert small.shape == (0, 3)
    assert rounding is not None
    assert rounding.scale is not None
    assert rounding.scale.tolist() == [1, 1, 1]
