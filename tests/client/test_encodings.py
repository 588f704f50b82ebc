"""Element types of features and encodings of masks, as both gRPC clients read them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from featsvc_client import Rle, errors
from PIL import Image
from pycocotools import mask as coco

from featsvc.codec.arrays import to_bits, to_tensor
from featsvc.v1 import dino_pb2, sam2_pb2, tensor_pb2
from tests.client.conftest import Ask
from tests.client.gateway import answering
from tests.client.samples import PICTURE

VALUES = np.random.default_rng(5).normal(size=(3, 4, 4)).astype(np.float32)
MASKS = np.random.default_rng(6).random((2, 9, 13)) > 0.6
SCORES = to_tensor(np.array([0.5, 0.75], np.float32))
FEATURES = dino_pb2.DinoServiceExtractFeaturesResponse


def tensor(dtype: str, array: np.ndarray) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(
        dtype=tensor_pb2.DType.Value(f"D_TYPE_{dtype.upper()}"), shape=array.shape, data=array.tobytes()
    )


@pytest.mark.parametrize(
    ("dtype", "raw", "expected"),
    [
        ("float32", VALUES, VALUES),
        ("float16", VALUES.astype(np.float16), VALUES.astype(np.float16).astype(np.float32)),
        (
            "bfloat16",
            (VALUES.view(np.uint32) >> 16).astype(np.uint16),
            (VALUES.view(np.uint32) & 0xFFFF0000).view(np.float32),
        ),
    ],
)
def test_floats_come_as_float32_and_as_they_were_sent(
    asked: Ask, dtype: str, raw: np.ndarray, expected: np.ndarray
) -> None:
    rounding = tensor_pb2.Rounding(largest_error=0.25, mean_error=0.125)
    reply = FEATURES(features=tensor(dtype, raw), rounding=rounding, image_digest="sha256:0")
    with answering(reply) as script:
        features = asked(script.target, "dino_features", PICTURE, dtype=dtype)
    np.testing.assert_array_equal(features.array, expected)
    np.testing.assert_array_equal(features.raw, raw)
    assert (features.array.dtype, features.raw.dtype) == (np.float32, raw.dtype)
    assert (features.rounding.largest_error, features.rounding.mean_error) == (0.25, 0.125)
    assert features.rounding.scale is None
    assert features.image_digest == "sha256:0"


def test_what_was_not_rounded_says_so(asked: Ask) -> None:
    with answering(FEATURES(features=to_tensor(VALUES))) as script:
        assert asked(script.target, "dino_features", PICTURE).rounding is None


@pytest.mark.parametrize(
    ("axis", "shape"), [(2, (4,)), (0, (3, 1, 1)), (0, (3,))], ids=["HWC", "CHW", "CHW, flat"]
)
def test_integers_are_multiplied_by_the_scale_of_their_channel(
    asked: Ask, axis: int, shape: tuple[int, ...]
) -> None:
    others = tuple(each for each in range(3) if each != axis)
    scale = np.abs(VALUES).max(axis=others, keepdims=True) / np.float32(127)
    raw = np.round(VALUES / scale).astype(np.int8)
    rounding = tensor_pb2.Rounding(scale=to_tensor(scale.reshape(shape)))
    with answering(FEATURES(features=to_tensor(raw), rounding=rounding)) as script:
        features = asked(script.target, "dino_features", PICTURE, dtype="int8")
    np.testing.assert_array_equal(features.array, raw * scale)
    assert np.abs(features.array - VALUES).max() <= scale.max() / 2 * 1.001
    np.testing.assert_array_equal(features.raw, raw)
    np.testing.assert_array_equal(features.raw * features.rounding.scale, features.array)


@pytest.mark.parametrize("scale", [None, np.ones(7, np.float32)])
def test_integers_without_a_scale_that_fits_are_a_server_error(asked: Ask, scale: np.ndarray | None) -> None:
    reply = FEATURES(features=to_tensor(VALUES.astype(np.int8)))
    if scale is not None:
        reply.rounding.scale.CopyFrom(to_tensor(scale))
    with answering(reply) as script, pytest.raises(errors.ServerError, match=r"scale|7 factors"):
        asked(script.target, "dino_features", PICTURE)


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def rle(mask: np.ndarray) -> sam2_pb2.Rle:
    packed = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    return sam2_pb2.Rle(coco=packed, height=mask.shape[0], width=mask.shape[1])


LABELS = np.where(MASKS[1], 2, MASKS[0]).astype(np.uint16)
SHOWN = np.stack([LABELS == 1, LABELS == 2])
ENCODED = [
    ({"masks": to_bits(MASKS)}, MASKS),
    ({"masks": to_tensor(MASKS.astype(np.float32))}, MASKS),
    ({"rle": [rle(each) for each in MASKS]}, MASKS),
    ({"png": [png(each) for each in MASKS]}, MASKS),
    ({"label_map": to_tensor(LABELS)}, SHOWN),
]
NAMES = ["bits", "float32", "coco_rle", "png", "label_map"]


@pytest.mark.parametrize(("fields", "expected"), ENCODED, ids=NAMES)
def test_prompt_masks_are_the_same_in_every_encoding(
    asked: Ask, fields: dict[str, Any], expected: np.ndarray
) -> None:
    result = sam2_pb2.PromptMasks(iou_predictions=SCORES, **fields)
    reply = sam2_pb2.PredictMasksResponse(results=[result], image_digest="sha256:0")
    with answering(reply) as script:
        (found,) = asked(script.target, "predict_masks", PICTURE)
    np.testing.assert_array_equal(found.masks, expected)
    np.testing.assert_array_equal(found.iou_predictions, [0.5, 0.75])
    assert found.low_res_masks.shape == (0, 0, 0)
    assert found.image_digest == "sha256:0"
    assert (found.label_map is None) == ("label_map" not in fields)


SINGLE = [
    {"bitmap": to_bits(MASKS[0])},
    {"bitmap": to_tensor(MASKS[0].astype(np.float32))},
    {"rle": rle(MASKS[0])},
    {"png": png(MASKS[0])},
]


@pytest.mark.parametrize("fields", SINGLE, ids=NAMES[:-1])
def test_automatic_masks_are_the_same_in_every_encoding(asked: Ask, fields: dict[str, Any]) -> None:
    reply = sam2_pb2.GenerateMasksResponse(
        masks=[sam2_pb2.Mask(area=7, **fields)], height=9, width=13, model="m", image_digest="sha256:0"
    )
    with answering(reply) as script:
        found = asked(script.target, "generate_masks", PICTURE)
    np.testing.assert_array_equal(found[0].segmentation, MASKS[0])
    assert found[0].segmentation.dtype == bool
    assert found[0].segmentation.view(np.uint8).max() == 1, "true is 1, as it is for numpy"
    assert isinstance(found[0].pixels, Rle) == ("rle" in fields)
    summary = found.summary
    assert (summary.count, summary.height, summary.width, summary.model) == (1, 9, 13, "m")
    assert summary.image_digest == "sha256:0"
    assert summary.label_map is None


def test_a_label_map_holds_the_pixels_of_all_masks(asked: Ask) -> None:
    reply = sam2_pb2.GenerateMasksResponse(
        masks=[sam2_pb2.Mask(area=1), sam2_pb2.Mask(area=2)], label_map=to_tensor(LABELS)
    )
    with answering(reply) as script:
        found = asked(script.target, "generate_masks", PICTURE, mask_encoding="label_map")
    np.testing.assert_array_equal(found.summary.label_map, LABELS)
    np.testing.assert_array_equal([each.segmentation for each in found], SHOWN)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", png(MASKS[0])[:40]])
def test_a_damaged_png_is_a_server_error(asked: Ask, content: bytes) -> None:
    reply = sam2_pb2.GenerateMasksResponse(masks=[sam2_pb2.Mask(png=content)])
    with answering(reply) as script:
        (found,) = asked(script.target, "generate_masks", PICTURE)
    with pytest.raises(errors.ServerError, match="no PNG"):
        _ = found.segmentation


def test_a_label_map_of_another_type_is_a_server_error(asked: Ask) -> None:
    reply = sam2_pb2.GenerateMasksResponse(label_map=to_tensor(LABELS.astype(np.int64)))
    with answering(reply) as script, pytest.raises(errors.ServerError, match="label map of int64"):
        asked(script.target, "generate_masks", PICTURE)
