"""CLIP features, texts and embeddings equal computations written down a second time, or open_clip's own."""

from __future__ import annotations

import copy

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    EncodeImageParams,
    EncodeTextParams,
    Texts,
)
from featsvc.work.item import Item, TextItem
from featsvc.work.operations import ENCODE_IMAGE, ENCODE_TEXT, EXTRACT_CLIP
from featsvc.work.results import Features, TextEmbeddings
from tests.engines import models

OPERATION = EXTRACT_CLIP.rpc
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def extract(engines: Engines, model: ClipModel, item: Item, **options: object) -> Features:
    params = ClipExtractFeaturesParams(**{"load_size": -1, **options})
    result = models.answer(engines, OPERATION, item, params, model)
    assert isinstance(result, Features)
    return result


def plain_features(network: open_clip.CLIP, image: np.ndarray, heads: int = 12) -> np.ndarray:
    """The formula for CLIP with nothing but matrix products, h x w x D; the picture is padded with zeros."""
    state = {name: value.double() for name, value in network.visual.state_dict().items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    pixels = (image / 255.0 - np.array(OPENAI_MEAN)) / np.array(OPENAI_STD)
    pixels = np.pad(pixels, ((0, -pixels.shape[0] % 16), (0, -pixels.shape[1] % 16), (0, 0)))
    height, width = pixels.shape[0] // 16, pixels.shape[1] // 16
    patches = pixels.reshape(height, 16, width, 16, 3).transpose(0, 2, 4, 1, 3).reshape(height * width, -1)
    tokens = torch.from_numpy(patches) @ state["conv1.weight"].flatten(1).T
    positions = state["positional_embedding"]
    side = int((len(positions) - 1) ** 0.5)
    if (height, width) != (side, side):
        grid = positions[1:].T.reshape(1, -1, side, side)
        factor = ((height + 0.1) / side, (width + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factor, mode="bicubic", align_corners=False)
        positions = torch.cat([positions[:1], grid[0].flatten(1).T])
    x = norm(torch.cat([state["class_embedding"][None], tokens]) + positions, "ln_pre")
    layers = len(network.visual.transformer.resblocks)
    for index in range(layers - 1):
        block = f"transformer.resblocks.{index}"
        qkv = norm(x, f"{block}.ln_1") @ state[f"{block}.attn.in_proj_weight"].T
        q, k, v = (qkv + state[f"{block}.attn.in_proj_bias"]).chunk(3, dim=-1)
        parts = []
        for q_h, k_h, v_h in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
            parts.append(((q_h @ k_h.T) / q_h.shape[-1] ** 0.5).softmax(-1) @ v_h)
        x = x + linear(torch.cat(parts, dim=-1), f"{block}.attn.out_proj")
        hidden = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}.mlp.c_proj")
    block = f"transformer.resblocks.{layers - 1}"
    values = norm(x[1:], f"{block}.ln_1") @ state[f"{block}.attn.in_proj_weight"][-x.shape[-1] :].T
    values = linear(values + state[f"{block}.attn.in_proj_bias"][-x.shape[-1] :], f"{block}.attn.out_proj")
    return (norm(values, "ln_post") @ state["proj"]).reshape(height, width, -1).numpy()


@pytest.mark.parametrize(("width", "height"), [(224, 224), (96, 96), (150, 100), (64, 200)])
def test_dense_features_equal_the_formula_written_down_plainly(
    engines: Engines, vit_b16: ClipModel, width: int, height: int
) -> None:
    got = extract(engines, vit_b16, models.picture_item(width, height))
    wanted = plain_features(models.plain_clip(), np.asarray(models.picture(width, height)))
    assert got.features.shape == wanted.shape == (-(-height // 16), -(-width // 16), 512)
    assert np.abs(got.features - wanted).max() < 1e-4
    assert wanted.std() > 0.1


def test_a_text_embedding_is_that_of_open_clip(engines: Engines, vit_b16: ClipModel) -> None:
    texts = ("a photo of a car", "Schrödinger's cat, twice", "word " * 200, "!")
    got = models.answer(engines, ENCODE_TEXT.rpc, TextItem(Texts(text=texts)), EncodeTextParams(), vit_b16)
    assert isinstance(got, TextEmbeddings)
    tokens = open_clip.get_tokenizer("ViT-B-16-quickgelu")(list(texts))
    wanted = F.normalize(models.plain_clip().encode_text(tokens), dim=-1)
    np.testing.assert_allclose(got.text_embedding, wanted.numpy(), atol=1e-6)
    assert len({row.tobytes() for row in got.text_embedding}) == len(texts)


def test_a_text_has_the_same_embedding_alone_and_among_many(engines: Engines, demo_clip: ClipModel) -> None:
    texts = tuple(f"a red circle, a blue star and {number}" for number in range(70))
    many = models.answer(engines, ENCODE_TEXT.rpc, TextItem(Texts(text=texts)), EncodeTextParams(), demo_clip)
    one = models.answer(
        engines, ENCODE_TEXT.rpc, TextItem(Texts(text=texts[9])), EncodeTextParams(), demo_clip
    )
    np.testing.assert_allclose(many.text_embedding[9], one.text_embedding[0], atol=1e-6)


def test_the_tokenizer_is_built_once(demo_clip: ClipModel) -> None:
    assert demo_clip.tokenizer is demo_clip.tokenizer


def test_a_picture_embedding_is_that_of_open_clip(engines: Engines, vit_b16: ClipModel) -> None:
    picture = models.picture(150, 100)
    got = models.answer(
        engines, ENCODE_IMAGE.rpc, models.picture_item(150, 100), EncodeImageParams(), vit_b16
    )
    transform = open_clip.image_transform(224, is_train=False, mean=OPENAI_MEAN, std=OPENAI_STD)
    wanted = F.normalize(models.plain_clip().encode_image(transform(picture)[None]), dim=-1)
    np.testing.assert_allclose(got.image_embedding, wanted.numpy(), atol=1e-6)


def test_pixels_have_upsampled_features_without_the_padding(engines: Engines, demo_clip: ClipModel) -> None:
    item = models.picture_item(60, 40)
    cells = extract(engines, demo_clip, item).features
    assert cells.shape == (3, 4, 128)
    maps = torch.from_numpy(cells).permute(2, 0, 1)[None]
    for mode in ("bilinear", "bicubic", "nearest", "nearest-exact", "area"):
        got = extract(engines, demo_clip, item, ret_patches=False, interpolation_mode=mode).features
        corners = False if mode in ("bilinear", "bicubic") else None
        wanted = F.interpolate(maps, (48, 64), mode=mode, align_corners=corners)[0, :, :40, :60]
        np.testing.assert_allclose(got, wanted.permute(1, 2, 0).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"ret_patches": False}, {"ret_pca": True}, {"ret_pca": True, "ret_patches": False}]
)
def test_chw_is_the_same_tensor_with_its_channels_first(
    engines: Engines, demo_clip: ClipModel, options: dict[str, bool]
) -> None:
    item = models.picture_item(60, 40)
    hwc = extract(engines, demo_clip, item, **options)
    chw = extract(engines, demo_clip, item, **options, tensor_format="CHW")
    np.testing.assert_array_equal(chw.features, hwc.features.transpose(2, 0, 1))
    assert chw.features.flags.c_contiguous
    assert hwc.features.flags.c_contiguous
    assert hwc.is_pca is chw.is_pca is bool(options.get("ret_pca"))
    assert hwc.features.shape[2] == (3 if hwc.is_pca else 128)


def test_identical_requests_give_identical_bytes_in_any_batch(engines: Engines, demo_clip: ClipModel) -> None:
    params = ClipExtractFeaturesParams(load_size=-1, ret_pca=True)
    prepared = [
        engines.prepare(OPERATION, models.picture_item(64, 48, seed), params, demo_clip) for seed in (0, 1, 2)
    ]
    together = engines.run(OPERATION, prepared, params, demo_clip)
    alone = [engines.run(OPERATION, [each], params, demo_clip)[0] for each in prepared]
    for one, other in zip(together, alone, strict=True):
        assert one.features.tobytes() == other.features.tobytes()
    assert together[0].features.tobytes() != together[1].features.tobytes()


def test_pixels_of_the_padded_picture_are_the_cost(engines: Engines, demo_clip: ClipModel) -> None:
    params = ClipExtractFeaturesParams(load_size=-1)
    prepared = engines.prepare(OPERATION, models.picture_item(60, 40), params, demo_clip)
    assert engines.pixels(prepared) == 64 * 48


def test_weights_are_not_changed_by_a_request(engines: Engines, demo_clip: ClipModel) -> None:
    before = copy.deepcopy(demo_clip.network.state_dict())
    extract(engines, demo_clip, models.picture_item(100, 60))
    for name, value in demo_clip.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_reply_over_the_limit_is_refused_with_its_exact_size_and_what_helps(demo_clip: ClipModel) -> None:
    item = models.picture_item(60, 40)
    cells, pixels = 3 * 4 * 128 * 4, 60 * 40 * 128 * 4
    extract(models.engines(max_reply_bytes=cells), demo_clip, item)
    with pytest.raises(ReplyTooLarge, match=f"{cells} bytes, at most {cells - 1}: dtype float16"):
        extract(models.engines(max_reply_bytes=cells - 1), demo_clip, item)
    with pytest.raises(ReplyTooLarge, match=rf"{pixels} bytes.*ret_patches true \({cells} bytes\)"):
        extract(models.engines(max_reply_bytes=cells), demo_clip, item, ret_patches=False)
    extract(models.engines(max_reply_bytes=60 * 40 * 3 * 4), demo_clip, item, ret_patches=False, ret_pca=True)
