"""The documented functions: what they send, what they answer, what they raise."""

from __future__ import annotations

import base64
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from featsvc_client import clip_client, dino_client, errors, sam2_client
from pycocotools import mask as coco

from tests.client.rest_service import Service, serving

PICTURE = base64.b64encode(bytes(range(40))).decode()
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


FEATURES = {"features": encoded(VALUES), "shape": [2, 3, 4], "is_pca": False}
TEXT = {"text_embedding": encoded(VALUES[0]), "shape": [3, 4]}
SIMILARITY = {"similarity_map": encoded(VALUES[0]), "shape": [3, 4]}
PROMPT = {
    "masks": encoded(VALUES > 3),
    "masks_shape": [2, 3, 4],
    "iou_predictions": encoded(np.array([0.5, 0.75])),
    "iou_shape": [2],
    "low_res_masks": encoded(VALUES - 9),
    "low_res_shape": [2, 3, 4],
}


def test_features_are_answered_as_sent_and_decoded() -> None:
    with serving(FEATURES) as service:
        reply = clip_client.extract_clip_features(image=PICTURE, ret_pca=True, base_url=service.url)
        assert reply == FEATURES
        for decoded in (
            clip_client.decode_features(reply["features"], reply["shape"]),
            clip_client.extract_clip_features_decoded(PICTURE, ret_pca=True, base_url=service.url),
        ):
            np.testing.assert_array_equal(decoded, VALUES)
            assert decoded.dtype == np.float32
            assert decoded.flags.writeable
    assert service.paths == ["/extract"] * 2
    assert service.bodies == [{"image": PICTURE, "ret_pca": True}] * 2


def test_dino_features_are_asked_for_with_their_options() -> None:
    with serving(FEATURES) as service:
        asked = {"model_type": "dinov2_vits14", "facet": "key", "layer": -1, "stride": None}
        assert dino_client.extract_dino_features(image=PICTURE, base_url=service.url, **asked) == FEATURES
        decoded = dino_client.extract_dino_features_decoded(PICTURE, base_url=service.url, **asked)
        np.testing.assert_array_equal(decoded, VALUES)
    assert service.bodies == [{"image": PICTURE, **asked}] * 2


@pytest.mark.parametrize("texts", ["a photo of a car", ["a car", "a road"]])
def test_texts_go_by_position_or_by_name(texts: str | list[str]) -> None:
    with serving(TEXT) as service:
        assert clip_client.encode_clip_text(texts, base_url=service.url) == TEXT
        assert clip_client.encode_clip_text(text=texts, base_url=service.url) == TEXT
        decoded = clip_client.encode_clip_text_decoded(texts, model_name="demo-clip", base_url=service.url)
        np.testing.assert_array_equal(decoded, VALUES[0])
    assert service.bodies == [{"text": texts}, {"text": texts}, {"text": texts, "model_name": "demo-clip"}]


def test_texts_given_twice_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="by position and by name"):
        clip_client.encode_clip_text("a car", text="a road")


def test_similarity_is_answered_as_sent_and_decoded() -> None:
    with serving(SIMILARITY) as service:
        reply = clip_client.compute_clip_similarity(
            image=PICTURE, text="car", softmax=0.25, base_url=service.url
        )
        assert reply == SIMILARITY
        decoded = clip_client.compute_clip_similarity_decoded(
            PICTURE, text="car", negative_text=["road"], base_url=service.url
        )
        np.testing.assert_array_equal(decoded, VALUES[0])
    assert service.bodies == [
        {"image": PICTURE, "text": "car", "softmax": 0.25},
        {"image": PICTURE, "text": "car", "negative_text": ["road"]},
    ]


@pytest.mark.parametrize(
    "name",
    [
        "generate_sam2_prompt_masks",
        "generate_sam2_prompt_masks_decoded",
        "sam2_point_mask",
        "sam2_box_mask",
        "sam2_combined_mask",
    ],
)
def test_prompt_masks_are_three_arrays_under_each_documented_name(name: str) -> None:
    prompt = {"point_coords": [[520, 820]], "point_labels": [1], "box": [280, 440, 1474, 1225]}
    with serving(PROMPT) as service:
        masks, scores, low_res = getattr(sam2_client, name)(PICTURE, base_url=service.url, **prompt)
    np.testing.assert_array_equal(masks, VALUES > 3)
    np.testing.assert_array_equal(scores, [0.5, 0.75])
    np.testing.assert_array_equal(low_res, VALUES - 9)
    assert service.paths == ["/prompt_mask"]
    assert service.bodies == [{"image": PICTURE, **prompt}]


def test_low_resolution_masks_of_one_answer_prompt_the_next() -> None:
    low_res = np.linspace(-5, 5, 256 * 256).reshape(1, 256, 256)
    with serving(PROMPT) as service:
        sam2_client.generate_sam2_prompt_masks(PICTURE, mask_input=low_res, base_url=service.url)
        sam2_client.generate_sam2_prompt_masks(
            PICTURE, mask_input=encoded(low_res), mask_input_shape=[1, 256, 256], base_url=service.url
        )
    assert (
        service.bodies
        == [{"image": PICTURE, "mask_input": encoded(low_res), "mask_input_shape": [1, 256, 256]}] * 2
    )


def test_numpy_arguments_travel_as_json() -> None:
    with serving(PROMPT) as service:
        sam2_client.sam2_combined_mask(
            PICTURE,
            point_coords=np.array([[5, 8], [1, 2]]),
            point_labels=[np.int64(1), np.int64(0)],
            box=np.array([1.5, 2, 3, 4], np.float32),
            multimask_output=np.bool_(False),
            base_url=service.url,
        )
    assert service.bodies == [
        {
            "image": PICTURE,
            "point_coords": [[5, 8], [1, 2]],
            "point_labels": [1, 0],
            "box": [1.5, 2, 3, 4],
            "multimask_output": False,
        }
    ]


MASK = np.arange(12).reshape(3, 4) > 5
FACTS = {
    "area": 6,
    "bbox": [0, 1, 3, 1],
    "predicted_iou": 0.9,
    "point_coords": [[1.5, 2.0]],
    "stability_score": 0.97,
    "crop_box": [0, 0, 4, 3],
}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation", [encoded(MASK), compressed(MASK), {"size": [3, 4], "counts": [2, 1, 2, 1, 1, 2, 1, 2]}]
)
def test_automatic_masks_are_decoded_to_booleans_in_every_output_mode(segmentation: object) -> None:
    reply = {"masks": [{"segmentation": segmentation, "segmentation_shape": [3, 4], **FACTS}], "num_masks": 1}
    with serving(reply) as service:
        assert sam2_client.generate_sam2_auto_masks(PICTURE, preset="coarse", base_url=service.url) == reply
        (mask,) = sam2_client.generate_sam2_auto_masks_decoded(PICTURE, preset="coarse", base_url=service.url)
    assert mask["segmentation"].dtype == bool
    np.testing.assert_array_equal(mask.pop("segmentation"), MASK)
    assert mask == FACTS
    assert service.bodies == [{"image": PICTURE, "preset": "coarse"}] * 2


def test_an_address_goes_as_image_url() -> None:
    with serving(FEATURES) as service:
        clip_client.extract_clip_features("https://example.com/a.jpg", base_url=service.url)
    assert service.bodies == [{"image_url": "https://example.com/a.jpg"}]


def test_the_key_is_the_documented_one_unless_given() -> None:
    with serving(TEXT) as service:
        clip_client.encode_clip_text("a", base_url=service.url)
        clip_client.encode_clip_text("a", base_url=service.url, api_key="other")
        clip_client.encode_clip_text("a", base_url=service.url, api_key="")
        clip_client.encode_clip_text("a", base_url=service.url, api_key=None)
    assert service.keys == ["Bearer smfeats", "Bearer other", "Bearer", None]


def test_calls_share_a_connection() -> None:
    with serving(TEXT) as service:
        for _ in range(5):
            clip_client.encode_clip_text("a", base_url=service.url)
    assert len(set(service.callers)) == 1


def test_threads_may_call_at_once() -> None:
    with serving(TEXT) as service, ThreadPoolExecutor(8) as threads:
        service.answer.clear()
        calls = [threads.submit(clip_client.encode_clip_text, str(n), base_url=service.url) for n in range(8)]
        service.answer.set()
        assert [call.result() for call in calls] == [TEXT] * 8
    assert sorted(body["text"] for body in service.bodies) == [str(n) for n in range(8)]


def asked(service: Service) -> object:
    return clip_client.extract_clip_features(PICTURE, load_size=0, base_url=service.url)


FIELD = [{"loc": ["body", "load_size"], "msg": "0 is no size", "type": "rule"}]


@pytest.mark.parametrize(
    ("status", "detail", "kind", "message"),
    [
        (422, FIELD, errors.InvalidRequest, "load_size: 0 is no size"),
        (400, "no JSON", errors.InvalidRequest, "no JSON"),
        (401, "wrong key", errors.AuthenticationError, "wrong key"),
        (404, "no model x", errors.ModelNotFound, "no model x"),
        (409, "put a.pt there", errors.WeightsMissing, "put a.pt there"),
        (413, "4 GB", errors.RequestTooLarge, "4 GB"),
        (429, "queue full", errors.Overloaded, "queue full"),
        (503, "shutting down", errors.Unavailable, "shutting down"),
        (504, "by a header", errors.DeadlineExceeded, f"no answer in time: {errors.LONGER}"),
        (500, "a defect", errors.ServerError, "a defect"),
        (418, "tea", errors.ServerError, "tea"),
    ],
)
def test_each_status_has_its_exception_with_the_words_of_the_server(
    status: int, detail: object, kind: type[errors.CallError], message: str
) -> None:
    with (
        serving({"detail": detail}, status, x_request_id="r-1", Retry_After="7") as service,
        pytest.raises(errors.FeatsvcError) as caught,
    ):
        asked(service)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert caught.value.request_id == "r-1"
    if isinstance(caught.value, errors.Overloaded):
        assert caught.value.retry_after == 7
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.failure) == (kind, message, caught.value.failure)


def test_bad_fields_are_named() -> None:
    with serving({"detail": FIELD}, 422) as service, pytest.raises(errors.InvalidRequest) as caught:
        asked(service)
    assert caught.value.violations == (errors.FieldViolation("load_size", "0 is no size"),)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("reply", [b"<html>", b"[1]", b"\xff"])
def test_a_proxy_in_its_own_words_is_understood_by_its_status(reply: bytes) -> None:
    with serving(reply, 503) as service, pytest.raises(errors.Unavailable, match="HTTP status 503"):
        asked(service)


@pytest.mark.parametrize("reply", [b"<html>", b"[1]"])
def test_an_answer_that_is_no_object_is_a_server_error(reply: bytes) -> None:
    with serving(reply) as service, pytest.raises(errors.ServerError, match="no JSON object"):
        asked(service)


def test_a_tensor_of_another_shape_is_a_server_error() -> None:
    with pytest.raises(errors.ServerError, match=r"shape \(5,\)"):
        clip_client.decode_features(encoded(VALUES), [5])


def test_no_service_is_unavailable() -> None:
    with serving(TEXT) as service:
        url = service.url
    with pytest.raises(errors.Unavailable, match=url):
        clip_client.encode_clip_text("a", base_url=url)


def test_a_misspelt_argument_reaches_the_server_which_names_it() -> None:
    extra = [{"loc": ["body", "ret_pac"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}]
    misspelt: dict[str, Any] = {"ret_pac": True}
    with serving({"detail": extra}, 422) as service, pytest.raises(errors.InvalidRequest, match="ret_pac"):
        clip_client.extract_clip_features(PICTURE, base_url=service.url, **misspelt)
    assert service.bodies[0]["ret_pac"] is True


@pytest.mark.parametrize("function", ["extract_dino_features", "extract_dino_features_decoded"])
def test_features_of_another_service_do_not_pass_for_those_that_were_meant(function: str) -> None:
    # CLIP's port has a path of the same name.
    with (
        serving(FEATURES, X_Featsvc_Service="ClipService") as service,
        pytest.raises(errors.InvalidRequest, match="is ClipService and not DinoService"),
    ):
        getattr(dino_client, function)(PICTURE, base_url=service.url)
    with serving(FEATURES, X_Featsvc_Service="DinoService") as service:
        assert dino_client.extract_dino_features(PICTURE, base_url=service.url) == FEATURES
