"""The documented functions: element types, encodings of masks, raw bytes, and pictures by digest."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from featsvc_client import clip_client, dino_client, errors, sam2_client
from PIL import Image
from pycocotools import mask as coco

from tests.client.rest_service import serving

PICTURE = base64.b64encode(bytes(range(40))).decode()
OCTETS = "application/octet-stream"
VALUES = np.random.default_rng(5).normal(size=(3, 4, 4)).astype(np.float32)
MASKS = np.random.default_rng(6).random((2, 9, 13)) > 0.6
LABELS = np.where(MASKS[1], 2, MASKS[0]).astype(np.uint16)
SHOWN = np.stack([LABELS == 1, LABELS == 2])
COST = {"largest_error": 0.25, "mean_error": 0.125}


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def scaled(axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers, and the scale of each channel along that axis in a shape that multiplies them."""
    others = tuple(each for each in range(3) if each != axis)
    scale = np.abs(VALUES).max(axis=others, keepdims=True) / np.float32(127)
    return np.round(VALUES / scale).astype(np.int8), scale


SENT: dict[str, tuple[np.ndarray, np.ndarray, dict[str, Any]]] = {
    "float32": (VALUES, VALUES, {}),
    "float16": (
        VALUES.astype(np.float16),
        VALUES.astype(np.float16).astype(np.float32),
        {"dtype": "float16", "rounding": COST},
    ),
    "bfloat16": (
        (VALUES.view(np.uint32) >> 16).astype(np.uint16),
        (VALUES.view(np.uint32) & 0xFFFF0000).view(np.float32),
        {"dtype": "bfloat16", "rounding": COST},
    ),
    "int8": (
        scaled(2)[0],
        scaled(2)[0] * scaled(2)[1],
        {"dtype": "int8", "rounding": {**COST, "scale": encoded(scaled(2)[1])}},
    ),
}


@pytest.mark.parametrize("dtype", SENT)
def test_features_in_json_are_decoded_from_every_type(dtype: Any) -> None:
    raw, expected, facts = SENT[dtype]
    reply = {"features": encoded(raw), "shape": list(raw.shape), "is_pca": False, **facts}
    with serving(reply, content_type="application/json") as service:
        found = clip_client.extract_clip_features_decoded(PICTURE, dtype=dtype, base_url=service.url)
        assert clip_client.extract_clip_features(PICTURE, dtype=dtype, base_url=service.url) == reply
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert service.bodies[0] == {"image": PICTURE, "dtype": dtype}
    assert service.accepts == [f"{OCTETS}, application/json;q=0.5", "application/json"]


@pytest.mark.parametrize("dtype", SENT)
def test_features_in_bytes_are_decoded_from_every_type(dtype: Any) -> None:
    raw, expected, facts = SENT[dtype]
    headers = {
        "content_type": OCTETS,
        "x_featsvc_shape": json.dumps(raw.shape),
        "x_featsvc_dtype": dtype,
        **({"x_featsvc_rounding": json.dumps(facts["rounding"])} if facts else {}),
    }
    with serving(raw.tobytes(), **headers) as service:
        found = dino_client.extract_dino_features_decoded(PICTURE, dtype=dtype, base_url=service.url)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.flags.writeable) == (np.float32, True)


def test_the_scale_of_channels_that_come_first_is_theirs() -> None:
    raw, scale = scaled(0)
    square = np.ascontiguousarray(raw[:, :3, :3])  # 3 x 3 x 3: the shape alone does not tell
    rounding = {**COST, "scale": encoded(scale)}
    reply = {"features": encoded(square), "shape": [3, 3, 3], "dtype": "int8", "rounding": rounding}
    with serving(reply, content_type="application/json") as service:
        found = clip_client.extract_clip_features_decoded(
            PICTURE, dtype="int8", tensor_format="CHW", base_url=service.url
        )
    np.testing.assert_array_equal(found, square * scale)


def test_where_bytes_cannot_be_had_json_is_asked_for() -> None:
    with (
        serving({"detail": "the scales are too long for a header"}, 406) as service,
        pytest.raises(errors.ServerError, match="too long"),
    ):
        clip_client.extract_clip_features_decoded(PICTURE, dtype="int8", base_url=service.url)
    assert service.accepts == [f"{OCTETS}, application/json;q=0.5", "application/json"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_featsvc_shape": "[3,4", "x_featsvc_dtype": "float32"},
        {"x_featsvc_shape": "[3, 4, 5]", "x_featsvc_dtype": "float32"},
        {"x_featsvc_shape": "[3, 4, 4]", "x_featsvc_dtype": "float33"},
        {"x_featsvc_shape": "[3, 4, 16]", "x_featsvc_dtype": "int8"},
    ],
)
def test_bytes_that_nothing_explains_are_a_server_error(headers: dict[str, str]) -> None:
    with (
        serving(VALUES.tobytes(), content_type=OCTETS, **headers) as service,
        pytest.raises(errors.ServerError, match="cannot be read"),
    ):
        clip_client.extract_clip_features_decoded(PICTURE, base_url=service.url)


def test_bytes_that_break_off_are_unavailable() -> None:
    headers = {"x_featsvc_shape": "[3, 4, 4]", "x_featsvc_dtype": "float32", "Content_Length": "192"}
    with (
        serving(VALUES.tobytes()[:100], content_type=OCTETS, Connection="close", **headers) as service,
        pytest.raises(errors.Unavailable),
    ):
        clip_client.extract_clip_features_decoded(PICTURE, base_url=service.url)


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def rle(mask: np.ndarray) -> dict[str, Any]:
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def bits(masks: np.ndarray) -> str:
    return encoded(np.packbits(masks, axis=-1))


def floats(masks: np.ndarray) -> str:
    return encoded(masks.astype(np.float32))


ONE_TENSOR = {"float32": floats, "bits": bits}
ONE_BY_ONE = {"coco_rle": rle, "png": png}
MAP = {"label_map": encoded(LABELS), "label_map_shape": [9, 13]}


def prompt_reply(encoding: str) -> dict[str, Any]:
    scores = {"iou_predictions": floats(np.array([0.5, 0.75])), "iou_shape": [2]}
    if encoding == "label_map":
        return {**scores, **MAP, "masks": None}
    masks: Any = (
        ONE_TENSOR[encoding](MASKS) if encoding in ONE_TENSOR else [*map(ONE_BY_ONE[encoding], MASKS)]
    )
    return {**scores, "masks": masks, "masks_shape": list(MASKS.shape)}


@pytest.mark.parametrize("encoding", [*ONE_TENSOR, *ONE_BY_ONE, "label_map"])
def test_prompt_masks_are_the_same_in_every_encoding(encoding: Any) -> None:
    with serving(prompt_reply(encoding)) as service:
        masks, scores, low_res = sam2_client.sam2_box_mask(
            PICTURE, box=[0, 0, 5, 5], mask_encoding=encoding, base_url=service.url
        )
    np.testing.assert_array_equal(masks, SHOWN if encoding == "label_map" else MASKS)
    assert masks.dtype == (np.float32 if encoding == "float32" else np.bool_)
    np.testing.assert_array_equal(scores, [0.5, 0.75])
    assert low_res.shape == (0, 0, 0)
    assert service.bodies[0]["mask_encoding"] == encoding


def auto_reply(encoding: str) -> dict[str, Any]:
    if encoding == "label_map":
        return {"masks": [{"area": 1}, {"area": 2}], "num_masks": 2, **MAP}
    write = {**ONE_TENSOR, **ONE_BY_ONE}[encoding]
    entries = [{"segmentation": write(each), "segmentation_shape": [9, 13], "area": 1} for each in MASKS]
    return {"masks": entries, "num_masks": 2}


@pytest.mark.parametrize("encoding", [*ONE_TENSOR, *ONE_BY_ONE, "label_map"])
def test_automatic_masks_are_the_same_in_every_encoding(encoding: Any) -> None:
    with serving(auto_reply(encoding)) as service:
        found = sam2_client.generate_sam2_auto_masks_decoded(
            PICTURE, mask_encoding=encoding, base_url=service.url
        )
    expected = SHOWN if encoding == "label_map" else MASKS
    np.testing.assert_array_equal([each["segmentation"] for each in found], expected)
    assert all(each["segmentation"].dtype == bool and "segmentation_shape" not in each for each in found)


def test_a_picture_that_is_gone_is_another_error_than_a_model_that_is_not_there() -> None:
    for detail, kind in (
        ("image.digest: is not kept any more", errors.PictureNotFound),
        ("model_name: no such model", errors.ModelNotFound),
    ):
        with serving({"detail": detail}, 404) as service, pytest.raises(kind, match=detail):
            sam2_client.sam2_point_mask("sha256:" + "0a" * 32, base_url=service.url)


def test_a_picture_that_the_server_has_goes_by_its_name() -> None:
    digest = "sha256:" + "0a" * 32
    with serving(prompt_reply("bits")) as service:
        sam2_client.sam2_point_mask(digest, base_url=service.url)
    assert service.bodies == [{"image_digest": digest}]
