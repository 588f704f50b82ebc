"""Both gRPC clients against one scripted server: what is sent, and how answers are read."""

from __future__ import annotations

import base64
import inspect
import re
from typing import Any

import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, Rle
from pycocotools import mask as coco

from featsvc.codec.arrays import to_bits, to_tensor
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, model_pb2, sam2_pb2, tensor_pb2
from tests.client.conftest import Ask
from tests.client.gateway import answering
from tests.client.runs import run_lengths
from tests.client.samples import GEOMETRY, PICTURE, TEXTS, VALUES


def test_both_clients_have_the_same_methods() -> None:
    def signatures(client: type) -> dict[str, str]:
        names = [name for name in vars(client) if not name.startswith("_")]
        return {name: blocking(str(inspect.signature(getattr(client, name)))) for name in names}

    def blocking(signature: str) -> str:
        """What can be awaited piece by piece, as the blocking client has it."""
        for awaited, plain in (
            (r" \| AsyncIterable\[\w+\]", ""),
            (r"AsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]"),
        ):
            signature = re.sub(awaited, plain, signature)
        return signature

    assert signatures(FeatsvcClient) == signatures(AsyncFeatsvcClient)


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("clip_features", clip_pb2.ClipServiceExtractFeaturesResponse),
        ("dino_features", dino_pb2.DinoServiceExtractFeaturesResponse),
    ],
)
def test_features_come_as_an_array_with_their_geometry(asked: Ask, method: str, reply: Any) -> None:
    with answering(reply(features=to_tensor(VALUES), is_pca=True, geometry=GEOMETRY, model="m")) as script:
        nothing = {"padding_mode": None, "points": None, "region": None}
        features = asked(script.target, method, PICTURE, load_size=None, ret_pca=True, **nothing)
    np.testing.assert_array_equal(features.array, VALUES)
    assert features.array.dtype == np.float32
    assert (features.is_pca, features.geometry, features.model) == (True, GEOMETRY, "m")
    (request,) = script.requests
    assert request.image.content == PICTURE
    assert (request.params.load_size, request.features.ret_pca) == (-1, True)
    assert not request.grid.HasField("padding_mode")


@pytest.mark.parametrize("dtype", [tensor_pb2.D_TYPE_FLOAT16, tensor_pb2.D_TYPE_BFLOAT16])
def test_smaller_floats_are_widened(asked: Ask, dtype: tensor_pb2.DType) -> None:
    values = VALUES.astype(np.float16) if dtype == tensor_pb2.D_TYPE_FLOAT16 else VALUES.view(np.uint32) >> 16
    data = values.astype("<f2" if dtype == tensor_pb2.D_TYPE_FLOAT16 else "<u2").tobytes()
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=VALUES.shape, data=data)
    with answering(dino_pb2.DinoServiceExtractFeaturesResponse(features=tensor)) as script:
        array = asked(script.target, "dino_features", PICTURE).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, VALUES)


@pytest.mark.parametrize("texts", ["a car", ["a car", "a road"]])
def test_texts_go_by_position_or_by_name(asked: Ask, texts: str | list[str]) -> None:
    with answering(TEXTS) as script:
        embeddings = asked(script.target, "encode_text", texts, model_name="demo-clip")
        asked(script.target, "encode_text", text=texts, model_name="demo-clip")
    np.testing.assert_array_equal(embeddings.array, VALUES[0])
    assert embeddings.model == "m"
    assert script.requests[0] == script.requests[1]
    assert list(script.requests[0].texts.text) == [texts] if isinstance(texts, str) else texts
    assert script.requests[0].model.model_name == "demo-clip"


def test_similarity_carries_texts_and_options_apart(asked: Ask) -> None:
    reply = clip_pb2.ComputeSimilarityResponse(
        similarity_map=to_tensor(VALUES[0]), geometry=GEOMETRY, model="m"
    )
    with answering(reply) as script:
        found = asked(script.target, "similarity", PICTURE, "car", negative_text=["road"], softmax=0.25)
    np.testing.assert_array_equal(found.array, VALUES[0])
    assert (found.geometry, found.model) == (GEOMETRY, "m")
    (request,) = script.requests
    assert (list(request.query.text), list(request.query.negative_text)) == (["car"], ["road"])
    assert request.similarity.softmax == 0.25


def test_a_picture_has_one_embedding(asked: Ask) -> None:
    with answering(
        clip_pb2.EncodeImageResponse(image_embedding=to_tensor(VALUES[0, :1]), model="m")
    ) as script:
        embeddings = asked(script.target, "encode_image", PICTURE)
    np.testing.assert_array_equal(embeddings.array, VALUES[0, :1])


def test_an_address_goes_as_one(asked: Ask) -> None:
    with answering(clip_pb2.EncodeImageResponse(image_embedding=to_tensor(VALUES[0]))) as script:
        asked(script.target, "encode_image", "https://example.com/a.jpg")
    assert script.requests[0].image == image_pb2.Image(url="https://example.com/a.jpg")


def test_automatic_masks_are_unpacked_in_every_output_mode(asked: Ask) -> None:
    mask = np.arange(33).reshape(3, 11) % 5 > 2
    facts: dict[str, Any] = {
        "area": int(mask.sum()),
        "bbox": sam2_pb2.Rectangle(x=1, y=2, width=3, height=4),
        "predicted_iou": 0.75,
        "point_coords": [sam2_pb2.Point(x=1.5, y=2)],
        "stability_score": 0.9,
        "crop_box": sam2_pb2.Rectangle(width=11, height=3),
    }
    lengths = sam2_pb2.RunLengths(counts=run_lengths(mask))
    packed = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    reply = sam2_pb2.GenerateMasksResponse(
        masks=[
            sam2_pb2.Mask(bitmap=to_bits(mask), **facts),
            sam2_pb2.Mask(rle=sam2_pb2.Rle(lengths=lengths, height=3, width=11), **facts),
            sam2_pb2.Mask(rle=sam2_pb2.Rle(coco=packed, height=3, width=11), **facts),
        ]
    )
    with answering(reply) as script:
        bitmap, *rles = asked(
            script.target, "generate_masks", PICTURE, preset="coarse", output_mode="coco_rle"
        )
    for found in (bitmap, *rles):
        assert found.segmentation.dtype == bool
        np.testing.assert_array_equal(found.segmentation, mask)
        assert (found.area, found.bbox, found.predicted_iou) == (mask.sum(), (1, 2, 3, 4), 0.75)
        assert (found.stability_score, found.crop_box) == (0.9, (0, 0, 11, 3))
        np.testing.assert_array_equal(found.point_coords, [[1.5, 2]])
    assert [type(each.pixels) for each in rles] == [Rle, Rle]
    assert script.requests[0].params.preset == sam2_pb2.PRESET_COARSE


PROMPTED = sam2_pb2.PredictMasksResponse(
    results=[
        sam2_pb2.PromptMasks(
            masks=to_bits(VALUES > 3),
            iou_predictions=to_tensor(np.array([0.5, 0.75], np.float32)),
            low_res_masks=to_tensor(VALUES - 9),
        ),
        sam2_pb2.PromptMasks(masks=to_tensor(VALUES), iou_predictions=to_tensor(VALUES[0, 0, :2])),
    ],
    model="m",
)


def test_each_prompt_has_its_masks(asked: Ask) -> None:
    low_res = np.linspace(-5, 5, 256 * 256).reshape(1, 256, 256)
    prompts = [
        {"point_coords": [[5, 8]], "point_labels": [1]},
        {"box": np.array([1, 2, 3, 4]), "mask_input": low_res},
    ]
    reply = sam2_pb2.PredictMasksResponse.FromString(PROMPTED.SerializeToString())
    reply.results[1].low_res_masks.CopyFrom(to_tensor(VALUES))
    with answering(reply) as script:
        first, second = asked(script.target, "predict_masks", PICTURE, prompts, multimask_output=False)
    assert first.masks.dtype == bool
    np.testing.assert_array_equal(first.masks, VALUES > 3)
    np.testing.assert_array_equal(first.iou_predictions, [0.5, 0.75])
    np.testing.assert_array_equal(first.low_res_masks, VALUES - 9)
    assert first.model == "m"
    assert second.masks.dtype == np.float32  # logits
    (request,) = script.requests
    assert [(point.x, point.y) for point in request.prompts[0].point_coords] == [(5, 8)]
    assert not request.prompts[0].HasField("box")
    assert request.prompts[1].box == sam2_pb2.Box(x0=1, y0=2, x1=3, y1=4)
    assert request.prompts[1].mask_input == to_tensor(low_res.astype(np.float32))
    assert request.masks.multimask_output is False


def test_one_prompt_may_be_given_by_keywords(asked: Ask) -> None:
    mask = np.ones((1, 256, 256), np.float32)
    encoded = base64.b64encode(mask.tobytes()).decode()
    reply = sam2_pb2.PredictMasksResponse(results=[])
    with answering(reply) as script:
        asked(script.target, "predict_masks", PICTURE, box=[1, 2, 3, 4], mask_input=mask, mask_threshold=0.5)
        asked(
            script.target,
            "predict_masks",
            PICTURE,
            box=[1, 2, 3, 4],
            mask_input=encoded,
            mask_input_shape=[1, 256, 256],
            mask_threshold=0.5,
        )
    assert script.requests[0] == script.requests[1]
    (prompt,) = script.requests[0].prompts
    assert prompt.mask_input == to_tensor(mask)
    assert script.requests[0].masks.mask_threshold == 0.5


def test_no_prompt_at_all_is_one_empty_prompt(asked: Ask) -> None:
    with answering(sam2_pb2.PredictMasksResponse()) as script:
        asked(script.target, "predict_masks", PICTURE)
    assert list(script.requests[0].prompts) == [sam2_pb2.Prompt()]


def test_models_and_status_are_the_messages_of_the_contract(asked: Ask) -> None:
    model = model_pb2.Model(key="demo-clip", family=model_pb2.FAMILY_CLIP)
    with answering(
        model_pb2.ListModelsResponse(models=[model]),
        model_pb2.LoadModelResponse(model=model),
        model_pb2.UnloadModelResponse(model=model),
        model_pb2.GetStatusResponse(version="1"),
    ) as script:
        assert asked(script.target, "models", "clip", available_only=True) == (model,)
        assert asked(script.target, "load_model", "demo-clip") == model
        assert asked(script.target, "unload_model", "demo-clip") == model
        assert asked(script.target, "status") == model_pb2.GetStatusResponse(version="1")
    assert script.requests[:2] == [
        model_pb2.ListModelsRequest(family=model_pb2.FAMILY_CLIP, available_only=True),
        model_pb2.LoadModelRequest(key="demo-clip"),
    ]
