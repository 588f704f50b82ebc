"""What each endpoint asks the gateway, and how its reply looks."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from featsvc.codec import arrays
from featsvc.v1 import clip_pb2, sam2_pb2
from rest_shim.reply import replies
from tests.rest.fake_gateway import BITMAP, FEATURES, LOGITS, FakeGateway
from tests.rest.shim import PICTURE, PICTURE_BYTES, Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")


def floats(encoded: str, shape: list[int]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(encoded, validate=True), "<f4").reshape(shape)


@pytest.mark.parametrize("family", ["clip", "dino"])
async def test_features_come_as_base64_of_float32(ports: Shim, gateway: FakeGateway, family: str) -> None:
    response = await ports.post(family, "/extract", {"image": PICTURE})
    body = response.json()
    assert response.status_code == 200
    assert body.keys() == {"features", "shape", "is_pca"}
    assert np.array_equal(floats(body["features"], body["shape"]), FEATURES)
    assert body["is_pca"] is (family == "dino")
    assert gateway.requests[0].image.content == PICTURE_BYTES


async def test_headers_tell_model_grid_and_request(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Id="mine-1")
    assert response.headers["x-featsvc-model"] == "fake"
    assert response.headers["x-featsvc-service"] == "ClipService"
    geometry = json.loads(response.headers["x-featsvc-geometry"])
    assert (geometry["patch_size"], geometry["grid_height"], geometry["pad_right"]) == (16, 2, 0)
    assert response.headers["x-request-id"] == "mine-1"
    assert gateway.metadata[0]["x-request-id"] == "mine-1"


@pytest.mark.parametrize(
    ("path", "given", "tensor", "shape"),
    [
        ("/encode_text", {"text": "a"}, "text_embedding", [2]),
        ("/encode_image", {"image": PICTURE}, "image_embedding", [1, 2]),
        ("/similarity", {"image": PICTURE, "text": "a"}, "similarity_map", [2, 3]),
    ],
)
async def test_other_clip_endpoints_answer_one_tensor_and_its_shape(
    ports: Shim, gateway: FakeGateway, path: str, given: dict[str, Any], tensor: str, shape: list[int]
) -> None:
    body = (await ports.post("clip", path, given)).json()
    assert body.keys() == {tensor, "shape"}
    assert body["shape"] == shape
    assert floats(body[tensor], shape).shape == tuple(shape)


async def test_one_text_and_many_are_both_lists_to_the_gateway(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("clip", "/encode_text", {"text": "one"})
    await ports.post("clip", "/encode_text", {"text": ["one", "two"]})
    await ports.post("clip", "/similarity", {"image": PICTURE, "text": "a", "negative_text": "b"})
    assert [list(each.texts.text) for each in gateway.requests[:2]] == [["one"], ["one", "two"]]
    assert list(gateway.requests[2].query.negative_text) == ["b"]


async def test_only_what_the_caller_gave_is_set(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("dino", "/extract", {"image": PICTURE, "layer": 0, "facet": "key", "ret_pca": False})
    given = MessageToDict(gateway.requests[0], preserving_proto_field_name=True)
    assert given.pop("image")
    assert given == {"params": {"layer": 0, "facet": "FACET_KEY"}, "features": {"ret_pca": False}}


async def test_null_load_size_means_no_resizing_and_absent_means_the_default(
    ports: Shim, gateway: FakeGateway
) -> None:
    await ports.post("clip", "/extract", {"image": PICTURE, "load_size": None})
    await ports.post("clip", "/extract", {"image": PICTURE})
    first, second = (each.params for each in gateway.requests)
    assert first.load_size == -1
    assert not second.HasField("load_size")


async def test_null_means_absent_where_it_has_no_meaning_of_its_own(
    ports: Shim, gateway: FakeGateway
) -> None:
    nothing = {
        "box": None,
        "point_coords": None,
        "point_labels": None,
        "mask_input": None,
        "mask_input_shape": None,
    }
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE, "image_url": None, **nothing})
    assert response.status_code == 200
    assert gateway.requests[0].prompts == [sam2_pb2.Prompt()]


async def test_a_picture_may_be_an_address(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("dino", "/extract", {"image_url": "https://example.com/a.png", "image": None})
    assert gateway.requests[0].image.url == "https://example.com/a.png"


async def test_a_prompt_of_points_box_and_mask_arrives_whole(ports: Shim, gateway: FakeGateway) -> None:
    encoded = base64.b64encode(LOGITS[:1].tobytes()).decode()
    prompt = {"point_coords": [[520, 820], [1, 2]], "point_labels": [1, 0], "box": [280, 440, 1474, 1225]}
    masked = {"mask_input": encoded, "mask_input_shape": [1, 2, 3]}
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE, **prompt, **masked})
    assert response.status_code == 200
    (given,) = gateway.requests[0].prompts
    assert [(point.x, point.y) for point in given.point_coords] == [(520, 820), (1, 2)]
    assert list(given.point_labels) == [1, 0]
    assert (given.box.x0, given.box.y1) == (280, 1225)
    assert np.array_equal(arrays.to_array(given.mask_input), LOGITS[:1])


async def test_prompt_masks_are_float32_zeros_and_ones(ports: Shim, gateway: FakeGateway) -> None:
    body = (await ports.post("sam2", "/prompt_mask", {"image": PICTURE})).json()
    replies.PromptMasks.model_validate(body, extra="forbid")
    assert np.array_equal(
        floats(body["masks"], body["masks_shape"]), np.stack([BITMAP, ~BITMAP]).astype("f4")
    )
    assert floats(body["iou_predictions"], body["iou_shape"]).tolist() == [0.25, 0.5]
    assert np.array_equal(floats(body["low_res_masks"], body["low_res_shape"]), LOGITS)


async def test_logits_come_as_they_are(ports: Shim, gateway: FakeGateway) -> None:
    gateway.replies["Sam2Service/PredictMasks"].results[0].masks.CopyFrom(arrays.to_tensor(LOGITS))
    body = (await ports.post("sam2", "/prompt_mask", {"image": PICTURE, "return_logits": True})).json()
    assert np.array_equal(floats(body["masks"], body["masks_shape"]), LOGITS)


async def test_automatic_masks_have_every_documented_field(ports: Shim, gateway: FakeGateway) -> None:
    body = (await ports.post("sam2", "/auto_mask", {"image": PICTURE, "preset": "coarse"})).json()
    replies.AutoMasks.model_validate(body, extra="forbid")
    (found,) = body["masks"]
    assert np.array_equal(floats(found.pop("segmentation"), found["segmentation_shape"]), BITMAP.astype("f4"))
    assert body["num_masks"] == 1
    assert found == {
        "segmentation_shape": [2, 3],
        "area": 3,
        "bbox": [1, 2, 3, 4],
        "predicted_iou": 0.75,
        "point_coords": [[5, 6]],
        "stability_score": 0.5,
        "crop_box": [0, 0, 3, 2],
    }


@pytest.mark.parametrize(
    ("runs", "counts"),
    [({"coco": "0123"}, "0123"), ({"lengths": sam2_pb2.RunLengths(counts=[0, 1, 5])}, [0, 1, 5])],
)
async def test_run_lengths_are_the_segmentation_itself(
    ports: Shim, gateway: FakeGateway, runs: dict[str, Any], counts: object
) -> None:
    mask = gateway.replies["Sam2Service/GenerateMasks"].masks[0]
    mask.rle.CopyFrom(sam2_pb2.Rle(height=2, width=3, **runs))
    body = (await ports.post("sam2", "/auto_mask", {"image": PICTURE, "output_mode": "coco_rle"})).json()
    replies.AutoMasks.model_validate(body, extra="forbid")
    assert body["masks"][0]["segmentation"] == {"size": [2, 3], "counts": counts}


async def test_masks_that_would_take_too_much_are_refused_with_a_way_out(
    ports: Shim, gateway: FakeGateway
) -> None:
    reply = gateway.replies["Sam2Service/GenerateMasks"]
    reply.masks[0].bitmap.CopyFrom(arrays.to_bits(np.zeros((600, 600), bool)))
    response = await ports.post("sam2", "/auto_mask", {"image": PICTURE})
    assert response.status_code == 413
    assert "1440000 bytes" in response.json()["detail"]
    assert "coco_rle" in response.json()["detail"]


async def test_the_tensors_of_one_reply_count_together(ports: Shim, gateway: FakeGateway) -> None:
    result = gateway.replies["Sam2Service/PredictMasks"].results[0]
    result.masks.CopyFrom(arrays.to_bits(np.zeros((1, 400, 400), bool)))
    assert (await ports.post("sam2", "/prompt_mask", {"image": PICTURE})).status_code == 200
    result.low_res_masks.CopyFrom(arrays.to_tensor(np.zeros((1, 400, 400), np.float32)))
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE})
    # Each is below the million that these ports send; both, and the two numbers beside them, are not.
    assert response.status_code == 413
    assert f"{2 * 400 * 400 * 4 + 2 * 4} bytes" in response.json()["detail"]


async def test_a_large_reply_is_whole(ports: Shim, gateway: FakeGateway) -> None:
    large = np.random.default_rng(0).random((100, 100, 20), np.float32)
    gateway.replies["ClipService/ExtractFeatures"] = clip_pb2.ClipServiceExtractFeaturesResponse(
        features=arrays.to_tensor(large)
    )
    body = (await ports.post("clip", "/extract", {"image": PICTURE})).json()
    assert np.array_equal(floats(body["features"], body["shape"]), large)
