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
from tests.engines.clip.plain import OPENAI_MEAN, OPENAI_STD, Plain

OPERATION = EXTRACT_CLIP.rpc


def extract(engines: Engines, model: ClipModel, item: Item, **options: object) -> Features:
    params = ClipExtractFeaturesParams(**{"load_size": -1, **options})
    result = models.answer(engines, OPERATION, item, params, model)
    assert isinstance(result, Features)
    return result


@pytest.mark.parametrize(("width", "height"), [(224, 224), (96, 96), (150, 100), (64, 200)])
def test_dense_features_equal_the_formula_written_down_plainly(
    engines: Engines, vit_b16: ClipModel, width: int, height: int
) -> None:
    got = extract(engines, vit_b16, models.picture_item(width, height))
    wanted = Plain(models.plain_clip()).features(np.asarray(models.picture(width, height)))
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
