"""Masks in the form that the caller asked for, and what the gateway is asked for that."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest

from featsvc.codec import arrays
from featsvc.v1 import sam2_pb2, schema
from rest_shim.reply import replies
from tests.parts import side_by_side
from tests.rest.fake_gateway import BITMAP, LOGITS, FakeGateway
from tests.rest.shim import PICTURE, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
RLE = sam2_pb2.Rle(coco="0123", height=2, width=3)
RLE_JSON = {"size": [2, 3], "counts": "0123"}
PNG = b"\x89PNG of a test"
LABELS = np.array([[1, 0, 1], [0, 2, 0]], np.uint16)
AUTO, PROMPT = "Sam2Service/GenerateMasks", "Sam2Service/PredictMasks"


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def asked(gateway: FakeGateway) -> dict[str, Any]:
    """The parameters that reached the gateway, side by side."""
    request = gateway.requests[-1]
    kinds = schema.GenerateMasksParams, schema.PredictMasksParams
    return side_by_side(request, kinds[isinstance(request, sam2_pb2.PredictMasksRequest)])


async def masks(ports: Shim, path: str, **options: object) -> dict[str, Any]:
    response = await ports.post("sam2", path, {"image": PICTURE, **options})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    form = replies.AutoMasks if path == "/auto_mask" else replies.PromptMasks
    form.model_validate(body, extra="forbid")
    return body


@pytest.mark.parametrize("path", ["/auto_mask", "/prompt_mask"])
@pytest.mark.parametrize("given", [{}, {"mask_encoding": "float32"}])
async def test_float32_is_made_here_from_the_bits_that_the_gateway_sends(
    ports: Shim, gateway: FakeGateway, path: str, given: dict[str, str]
) -> None:
    body = await masks(ports, path, **given)
    assert asked(gateway) == {}
    first = body["masks"][0]["segmentation"] if path == "/auto_mask" else body["masks"]
    expected = BITMAP if path == "/auto_mask" else np.stack([BITMAP, ~BITMAP])
    assert first == text(expected.astype("<f4").tobytes())


async def test_bits_of_automatic_masks_stay_packed(ports: Shim, gateway: FakeGateway) -> None:
    (mask,) = (await masks(ports, "/auto_mask", mask_encoding="bits"))["masks"]
    assert asked(gateway) == {"mask_encoding": "MASK_ENCODING_BITS"}
    assert mask["segmentation"] == text(np.packbits(BITMAP, axis=-1).tobytes())
    assert mask["segmentation_shape"] == [2, 3]


async def test_bits_of_prompt_masks_stay_packed_and_numbers_stay_float32(
    ports: Shim, gateway: FakeGateway
) -> None:
    body = await masks(ports, "/prompt_mask", mask_encoding="bits")
    assert body["masks"] == text(np.packbits(np.stack([BITMAP, ~BITMAP]), axis=-1).tobytes())
    assert body["masks_shape"] == [2, 2, 3]
    assert body["low_res_masks"] == text(LOGITS.tobytes())


@pytest.mark.parametrize(
    ("encoding", "held", "segmentation"),
    [("coco_rle", {"rle": RLE}, RLE_JSON), ("png", {"png": PNG}, text(PNG))],
)
async def test_run_lengths_and_files_are_the_segmentation(
    ports: Shim, gateway: FakeGateway, encoding: str, held: dict[str, Any], segmentation: object
) -> None:
    gateway.replies[AUTO] = sam2_pb2.GenerateMasksResponse(
        masks=[sam2_pb2.Mask(area=3, **held)], height=2, width=3
    )
    (mask,) = (await masks(ports, "/auto_mask", mask_encoding=encoding))["masks"]
    assert asked(gateway) == {"mask_encoding": f"MASK_ENCODING_{encoding.upper()}"}
    assert (mask["segmentation"], mask["segmentation_shape"]) == (segmentation, [2, 3])


@pytest.mark.parametrize(
    ("encoding", "held", "each"),
    [("coco_rle", {"rle": [RLE, RLE]}, RLE_JSON), ("png", {"png": [PNG, PNG]}, text(PNG))],
)
async def test_prompt_masks_are_then_a_list(
    ports: Shim, gateway: FakeGateway, encoding: str, held: dict[str, Any], each: object
) -> None:
    result = sam2_pb2.PromptMasks(iou_predictions=arrays.to_tensor(np.ones(2, np.float32)), **held)
    gateway.replies[PROMPT] = sam2_pb2.PredictMasksResponse(results=[result], height=2, width=3)
    body = await masks(ports, "/prompt_mask", mask_encoding=encoding, return_low_res=False)
    assert (body["masks"], body["masks_shape"]) == ([each, each], [2, 2, 3])
    assert not {"low_res_masks", "low_res_shape"} & body.keys()


async def test_a_label_map_stands_beside_a_table_without_segmentations(
    ports: Shim, gateway: FakeGateway
) -> None:
    gateway.replies[AUTO] = sam2_pb2.GenerateMasksResponse(
        masks=[sam2_pb2.Mask(area=2), sam2_pb2.Mask(area=1)], label_map=arrays.to_tensor(LABELS)
    )
    body = await masks(ports, "/auto_mask", mask_encoding="label_map")
    assert (body["label_map"], body["label_map_shape"]) == (text(LABELS.astype("<u2").tobytes()), [2, 3])
    assert [mask["area"] for mask in body["masks"]] == [2, 1]
    assert not {"segmentation", "segmentation_shape"} & body["masks"][0].keys()


async def test_a_label_map_takes_the_place_of_prompt_masks(ports: Shim, gateway: FakeGateway) -> None:
    result = gateway.replies[PROMPT].results[0]
    result.ClearField("masks")
    result.label_map.CopyFrom(arrays.to_tensor(LABELS))
    body = await masks(ports, "/prompt_mask", mask_encoding="label_map")
    assert (body["label_map"], body["label_map_shape"]) == (text(LABELS.astype("<u2").tobytes()), [2, 3])
    assert not {"masks", "masks_shape"} & body.keys()
    assert body["iou_shape"] == [2]


async def test_old_output_modes_go_with_the_default_and_with_no_other(
    ports: Shim, gateway: FakeGateway
) -> None:
    old = {"image": PICTURE, "output_mode": "uncompressed_rle"}
    for given in (old, old | {"mask_encoding": "float32"}):
        assert (await ports.post("sam2", "/auto_mask", given)).status_code == 200
        assert asked(gateway) == {"output_mode": "OUTPUT_MODE_UNCOMPRESSED_RLE"}
    refused = await ports.post("sam2", "/auto_mask", old | {"mask_encoding": "png"})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "mask_encoding"]


@pytest.mark.parametrize("encoding", ["bits", "float32"])
async def test_logits_are_float32_whatever_masks_would_be(
    ports: Shim, gateway: FakeGateway, encoding: str
) -> None:
    gateway.replies[PROMPT].results[0].masks.CopyFrom(arrays.to_tensor(LOGITS))
    body = await masks(ports, "/prompt_mask", mask_encoding=encoding, return_logits=True)
    assert body["masks"] == text(LOGITS.tobytes())


async def test_masks_that_take_too_much_as_float32_are_sent_as_bits(
    ports: Shim, gateway: FakeGateway
) -> None:
    gateway.replies[AUTO].masks[0].bitmap.CopyFrom(arrays.to_bits(np.zeros((600, 600), bool)))
    assert (await ports.post("sam2", "/auto_mask", {"image": PICTURE})).status_code == 413
    body = await masks(ports, "/auto_mask", mask_encoding="bits")
    assert len(body["masks"][0]["segmentation"]) == 600 * 75 * 4 // 3


async def test_the_text_of_a_reply_in_the_default_form_is_what_it_always_was(
    ports: Shim, gateway: FakeGateway
) -> None:
    response = await ports.post("sam2", "/auto_mask", {"image": PICTURE})
    mask = {
        "segmentation": text(BITMAP.astype("<f4").tobytes()), "segmentation_shape": [2, 3], "area": 3,
        "bbox": [1.0, 2.0, 3.0, 4.0], "predicted_iou": 0.75, "point_coords": [[5.0, 6.0]], "stability_score": 0.5,
        "crop_box": [0.0, 0.0, 3.0, 2.0],
    }  # fmt: skip
    assert response.content == orjson.dumps({"masks": [mask], "num_masks": 1})
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE})
    expected = {
        "masks": text(np.stack([BITMAP, ~BITMAP]).astype("<f4").tobytes()), "masks_shape": [2, 2, 3],
        "iou_predictions": text(np.array([0.25, 0.5], "<f4").tobytes()), "iou_shape": [2],
        "low_res_masks": text(LOGITS.tobytes()), "low_res_shape": [2, 2, 3],
    }  # fmt: skip
    assert response.content == orjson.dumps(expected)
    assert response.headers["content-type"] == "application/json"
