"""Heat maps: what they are, that upsampling a map equals upsampling features, and that large factors do no harm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from featsvc.engines.clip import similarity as clip_similarity
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.similarity import probability_maps, similarity_maps
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    ComputeSimilarityParams,
    EncodeTextParams,
    InterpolationMode,
    TextQuery,
    Texts,
)
from featsvc.work.item import QueryItem, TextItem
from featsvc.work.operations import COMPUTE_SIMILARITY, ENCODE_TEXT, EXTRACT_CLIP
from featsvc.work.results import Features, Geometry, Similarity, TextEmbeddings
from tests.engines import models

OPERATION = COMPUTE_SIMILARITY.rpc
TEXTS = ("a red circle", "a blue star", "green")
GEOMETRY = Geometry(
    patch_size=8,
    stride=8,
    resized_height=37,
    resized_width=52,
    pad_right=4,
    pad_bottom=3,
    original_height=37,
    original_width=52,
    grid_height=5,
    grid_width=7,
)


def similarity(
    engines: Engines,
    model: ClipModel,
    text: tuple[str, ...],
    negative: tuple[str, ...] = (),
    **options: object,
) -> np.ndarray:
    item = QueryItem(
        models.encoded(models.picture(60, 40)), query=TextQuery(text=text, negative_text=negative)
    )
    params = ComputeSimilarityParams(**{"load_size": -1, **options})
    result = models.answer(engines, OPERATION, item, params, model)
    assert isinstance(result, Similarity)
    assert result.similarity_map.dtype == np.float32
    return result.similarity_map


def parts(engines: Engines, model: ClipModel, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Features and embeddings by the other operations."""
    picture = models.picture_item(60, 40)
    params = ClipExtractFeaturesParams(load_size=-1)
    features = models.answer(engines, EXTRACT_CLIP.rpc, picture, params, model)
    words = models.answer(engines, ENCODE_TEXT.rpc, TextItem(Texts(text=texts)), EncodeTextParams(), model)
    assert isinstance(features, Features)
    assert isinstance(words, TextEmbeddings)
    return features.features, words.text_embedding


def test_the_raw_map_is_the_dot_product_of_features_and_text(engines: Engines, demo_clip: ClipModel) -> None:
    features, words = parts(engines, demo_clip, TEXTS)
    got = similarity(engines, demo_clip, TEXTS, softmax=0)
    np.testing.assert_allclose(got, np.einsum("hwd,td->thw", features, words), atol=1e-5)
    one = similarity(engines, demo_clip, TEXTS[:1], softmax=0)
    assert one.shape == (3, 4)
    np.testing.assert_allclose(one, got[0], atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 1.0, 30.0])
@pytest.mark.parametrize("ret_patches", [True, False])
def test_softmax_is_over_all_positions(
    engines: Engines, demo_clip: ClipModel, scale: float, ret_patches: bool
) -> None:
    raw = similarity(engines, demo_clip, TEXTS, softmax=0, ret_patches=ret_patches).astype(np.float64)
    got = similarity(engines, demo_clip, TEXTS, softmax=scale, ret_patches=ret_patches)
    powers = np.exp(scale * (raw - raw.max(axis=(1, 2), keepdims=True)))
    np.testing.assert_allclose(got, powers / powers.sum(axis=(1, 2), keepdims=True), rtol=1e-3, atol=1e-7)
    assert got.shape == ((3, 3, 4) if ret_patches else (3, 40, 60))


@pytest.mark.parametrize("scale", [100.0, 100_000.0])
def test_large_factors_give_no_nan(engines: Engines, demo_clip: ClipModel, scale: float) -> None:
    for negative in ((), ("a red square",)):
        got = similarity(engines, demo_clip, TEXTS, negative, softmax=scale)
        assert np.isfinite(got).all()
        assert got.min() >= 0
    np.testing.assert_allclose(
        similarity(engines, demo_clip, TEXTS, softmax=scale).sum(axis=(1, 2)), 1, atol=1e-5
    )


def random_parts(texts: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(texts)
    features = torch.randn(5, 7, 24, generator=generator)
    return features, F.normalize(torch.randn(texts, 24, generator=generator), dim=-1)


def upsampled(features: torch.Tensor, mode: InterpolationMode) -> torch.Tensor:
    """The way that holds a vector for every pixel, H x W x D."""
    corners = False if mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC) else None
    full = F.interpolate(features.permute(2, 0, 1)[None], (40, 56), mode=mode.value, align_corners=corners)
    return full[0, :, :37, :52].permute(1, 2, 0)


@pytest.mark.parametrize("mode", list(InterpolationMode))
def test_an_upsampled_map_equals_that_of_upsampled_features(mode: InterpolationMode) -> None:
    features, words = random_parts(3)
    params = ComputeSimilarityParams(ret_patches=False, interpolation_mode=mode, softmax=0)
    wanted = torch.einsum("hwd,td->thw", upsampled(features, mode), words)
    torch.testing.assert_close(similarity_maps(features, words, GEOMETRY, params), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", list(InterpolationMode))
@pytest.mark.parametrize("ret_patches", [True, False])
@pytest.mark.parametrize("scale", [0.0, 7.0])
def test_with_negatives_it_is_the_probability_of_the_text_among_all(
    mode: InterpolationMode, ret_patches: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two rows of upsampled features at a time, and of each a part.
    monkeypatch.setattr(clip_similarity, "BAND_ELEMENTS", 2 * 20 * 24)
    monkeypatch.setattr(clip_similarity, "MOST_ALONG", 20)
    features, words = random_parts(5)
    positive, negative = words[:2], words[2:]
    params = ComputeSimilarityParams(ret_patches=ret_patches, interpolation_mode=mode, softmax=scale)
    got = probability_maps(features, positive, negative, GEOMETRY, params)
    vectors = features if ret_patches else upsampled(features, mode)
    cosines = F.normalize(vectors, dim=-1) @ words.T
    for index in range(2):
        among = torch.cat([cosines[..., index : index + 1], cosines[..., 2:]], dim=-1)
        wanted = (among * (scale or 1.0)).softmax(dim=-1)[..., 0]
        torch.testing.assert_close(got[index], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("long", ["width", "height"])
def test_a_long_picture_costs_no_more_than_a_square_one(long: str) -> None:
    cells, pixels, channels = 1600, 1600 * 16, 24
    lengths = {f"grid_{long}": cells, f"resized_{long}": pixels, f"original_{long}": pixels}
    sides = {"resized_height": 16, "resized_width": 16, "original_height": 16, "original_width": 16}
    padding = {"patch_size": 16, "stride": 16, "pad_right": 0, "pad_bottom": 0}
    geometry = Geometry(**{**padding, **sides, "grid_height": 1, "grid_width": 1, **lengths})
    features = torch.ones(geometry.grid_height, geometry.grid_width, channels)
    words, params = torch.ones(2, channels), ComputeSimilarityParams(ret_patches=False)
    with FlopCounterMode(display=False) as counted:
        (got,) = probability_maps(features, words[:1], words[1:], geometry, params)
    torch.testing.assert_close(got, torch.full_like(got, 0.5))
    # As many pixels of a square, each made of the 40 cells of its row and its column.
    assert counted.get_total_flops() < 2 * 2 * 40 * channels * got.numel()


def test_negatives_reach_the_map_of_a_request(engines: Engines, demo_clip: ClipModel) -> None:
    features, words = parts(engines, demo_clip, (*TEXTS, "a road"))
    got = similarity(engines, demo_clip, TEXTS[:1], (*TEXTS[1:], "a road"), softmax=5)
    cosines = features / np.linalg.norm(features, axis=-1, keepdims=True) @ words.T
    powers = np.exp(5 * cosines)
    np.testing.assert_allclose(got, powers[..., 0] / powers.sum(axis=-1), atol=1e-5)
    assert got.shape == (3, 4)


def test_the_crop_and_the_interpolation_change_the_map(engines: Engines, demo_clip: ClipModel) -> None:
    assert similarity(engines, demo_clip, TEXTS[:1], load_size=40).shape == (3, 4)
    assert similarity(engines, demo_clip, TEXTS[:1], load_size=40, center_crop=True).shape == (3, 3)
    smooth, stepped = (
        similarity(engines, demo_clip, TEXTS[:1], ret_patches=False, interpolation_mode=mode)
        for mode in ("bilinear", "nearest")
    )
    assert len(np.unique(stepped)) <= 12 < len(np.unique(smooth))


def test_components_of_a_map_are_refused_where_the_schema_is_passed_by(
    engines: Engines, demo_clip: ClipModel
) -> None:
    params = ComputeSimilarityParams.model_construct(**{**dict(ComputeSimilarityParams()), "ret_pca": True})
    item = QueryItem(models.encoded(models.picture(60, 40)), query=TextQuery(text="a car"))
    with pytest.raises(InvalidFields, match="no principal components") as caught:
        engines.prepare(OPERATION, item, params, demo_clip)
    assert caught.value.violations[0].field == "params.ret_pca"


def test_a_reply_over_the_limit_is_refused_with_its_exact_size(demo_clip: ClipModel) -> None:
    needed = 3 * 40 * 60 * 4
    similarity(models.engines(max_reply_bytes=needed), demo_clip, TEXTS, ret_patches=False)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes"):
        similarity(models.engines(max_reply_bytes=needed - 1), demo_clip, TEXTS, ret_patches=False)
