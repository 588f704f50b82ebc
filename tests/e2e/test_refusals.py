"""Bad requests: the same exception, field and words over both transports, and never a defect."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from featsvc_client import FeatsvcClient, calls, errors, operations
from featsvc_client.retry import RetryPolicy
from featsvc_client.terms import USUAL
from google.protobuf import json_format

from tests.e2e.transports import Grpc, Rest, Transport
from tests.servers import KEY, Server

NO_PICTURE = b"this is no picture, whatever its length may be"


@dataclass(frozen=True)
class Bad:
    """A request with one bad field; `raw` is the gRPC request past the client's own checks."""

    operation: str
    params: dict[str, Any]
    field: str
    raw: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation} {self.params}"


# Without the recipe that goes by it.
BY_DINO, RAW_BY_DINO = {"proxy_model": "demo-dino"}, {"params": {"proxyModel": "demo-dino"}}
BAD = [
    Bad("clip_features", {"load_size": 0}, "load_size", {"params": {"loadSize": 0}}),
    Bad("clip_features", {"load_size": 9000}, "load_size", {"params": {"loadSize": 9000}}),
    Bad(
        "clip_features",
        {"center_crop": True, "load_size": -1},
        "center_crop",
        {"params": {"centerCrop": True, "loadSize": -1}},
    ),
    Bad(
        "clip_features",
        {"pca_q_min": 0.9, "pca_q_max": 0.1},
        "pca_q_max",
        {"features": {"pcaQMin": 0.9, "pcaQMax": 0.1}},
    ),
    Bad(
        "similarity",
        {"text": "a", "ret_pca": True},
        "ret_pca",
        {"query": {"text": ["a"]}, "similarity": {"retPca": True}},
    ),
    Bad(
        "clip_features",
        {"dense_recipe": "proxyclip"},
        "proxy_model",
        {"params": {"denseRecipe": "DENSE_RECIPE_PROXYCLIP"}},
    ),
    Bad("similarity", {"text": "a", **BY_DINO}, "proxy_model", {"query": {"text": ["a"]}, **RAW_BY_DINO}),
    Bad("dino_features", {"stride": 0}, "stride", {"params": {"stride": 0}}),
    Bad("dino_features", {"layer": 500}, "layer", {"params": {"layer": 500}}),
    Bad("auto_masks", {"points_per_side": 0}, "points_per_side", {"params": {"pointsPerSide": 0}}),
    Bad("auto_masks", {"pred_iou_thresh": 1.5}, "pred_iou_thresh", {"params": {"predIouThresh": 1.5}}),
    Bad(
        "prompt_masks",
        {"point_coords": [[1, 2]], "point_labels": [1, 0]},
        "point_labels",
        {"prompts": [{"pointCoords": [{"x": 1, "y": 2}], "pointLabels": [1, 0]}]},
    ),
    Bad(
        "prompt_masks",
        {"box": [9, 9, 3, 3]},
        "box",
        {"prompts": [{"box": {"x0": 9, "y0": 9, "x1": 3, "y1": 3}}]},
    ),
    # Known only when the picture is decoded.
    Bad(
        "prompt_masks",
        {"point_coords": [[5, 5], [5000, 4000]], "point_labels": [1, 1]},
        "point_coords[1]",
        {"prompts": [{"pointCoords": [{"x": 5, "y": 5}, {"x": 5000, "y": 4000}], "pointLabels": [1, 1]}]},
    ),
    Bad(
        "prompt_masks",
        {"box": [900, 900, 990, 990]},
        "box",
        {"prompts": [{"box": {"x0": 900, "y0": 900, "x1": 990, "y1": 990}}]},
    ),
    Bad("similarity", {"text": ["a", ""]}, "text[1]", {"query": {"text": ["a", ""]}}),
    Bad(
        "similarity",
        {"text": "a", "negative_text": [""]},
        "negative_text[0]",
        {"query": {"text": ["a"], "negativeText": [""]}},
    ),
]
OPERATIONS = {
    "clip_features": operations.CLIP_FEATURES,
    "similarity": operations.SIMILARITY,
    "dino_features": operations.DINO_FEATURES,
    "auto_masks": operations.GENERATE_MASKS,
    "prompt_masks": operations.PREDICT_MASKS,
}


def last(field: str) -> str:
    """The field's own name: REST bodies are flat, gRPC requests are not."""
    return field.rpartition(".")[2]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_field_is_named_alike_by_rest_grpc_and_the_client(
    bad: Bad, picture: bytes, over_rest: Rest, over_grpc: Grpc, demo_server: Server
) -> None:
    found = []
    for over in (over_rest, over_grpc):
        with pytest.raises(errors.InvalidRequest) as caught:
            over.ask(bad.operation, picture, bad.params)
        found.append(caught.value.violations)
    with pytest.raises(errors.InvalidRequest) as caught:
        unchecked(demo_server, bad, picture)
    found.append(caught.value.violations)
    alike = [[(last(each.field), each.message) for each in violations] for violations in found]
    assert alike[0] == alike[1] == alike[2]
    assert [name for name, _ in alike[0]] == [bad.field]


def unchecked(server: Server, bad: Bad, picture: bytes) -> None:
    """The request as another client would send it, past this client's checks."""
    operation = OPERATIONS[bad.operation]
    request = json_format.ParseDict(bad.raw, operation.request())
    request.image.content = picture  # type: ignore[attr-defined]  # every request of the table has one
    with FeatsvcClient(server.target, api_key=KEY) as client:
        client._answer(USUAL, lambda: calls.Call(operation, lambda _: request))


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("dino_features", {"facet": "keys"}),
        ("auto_masks", {"preset": "corase"}),
        ("clip_features", {"ret_pac": True}),
        ("dino_features", {"load_size": True}),
        ("prompt_masks", {"box": [True, 1, 30, 30]}),
    ],
    ids=str,
)
def test_misspelt_words_and_names_and_booleans_for_numbers_are_refused(
    transport: Transport, picture: bytes, operation: str, params: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        transport.ask(operation, picture, params)
    assert [last(each.field) for each in caught.value.violations] == list(params)


@pytest.mark.parametrize(
    "operation", ["clip_features", "dino_features", "prompt_masks", "auto_masks", "encode_image"]
)
@pytest.mark.parametrize("content", [NO_PICTURE, b""], ids=["text", "nothing"])
def test_bytes_that_are_no_picture_are_refused(transport: Transport, operation: str, content: bytes) -> None:
    with pytest.raises(errors.InvalidRequest, match="image"):
        transport.ask(operation, content, {})


def test_a_cut_off_picture_is_refused(transport: Transport, picture: bytes) -> None:
    with pytest.raises(errors.InvalidRequest, match="image"):
        transport.ask("dino_features", picture[: len(picture) // 2], {})


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("clip_features", {"model_name": "ViT-Z-99"}),
        ("dino_features", {"model_type": "../../etc/passwd"}),
        ("prompt_masks", {"checkpoint_path": "checkpoints/evil.pt"}),
    ],
    ids=str,
)
def test_an_unknown_model_is_not_found(
    transport: Transport, picture: bytes, operation: str, params: dict[str, Any]
) -> None:
    with pytest.raises(errors.ModelNotFound):
        transport.ask(operation, picture, params)


@pytest.mark.parametrize("name", ["demo-clip", "dinov2", ""])
def test_a_proxy_that_is_no_dino_model_is_told_by_its_field(
    transport: Transport, picture: bytes, name: str
) -> None:
    with pytest.raises(errors.ModelNotFound, match=f"proxy_model: no DINO model is called '{name}'"):
        transport.ask("clip_features", picture, {"dense_recipe": "proxyclip", "proxy_model": name})


PAIR = {
    "model_cfg": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "checkpoint_path": "checkpoints/sam2.1_hiera_large.pt",
}


def test_a_contradictory_pair_of_names_is_refused(transport: Transport, picture: bytes) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        transport.ask("prompt_masks", picture, PAIR)
    # Each name is right by itself: no field is to blame.
    assert caught.value.violations == ()
    assert all(name in caught.value.message for name in PAIR)


def test_a_contradictory_pair_of_names_is_a_400(picture: bytes, demo_server: Server) -> None:
    body = {"image": base64.b64encode(picture).decode(), **PAIR}
    answer = httpx.post(
        f"{demo_server.url('sam2')}/prompt_mask",
        json=body,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_an_unknown_enum_number_is_refused(picture: bytes, demo_server: Server) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        unchecked(demo_server, Bad("dino_features", {}, "facet", {"params": {"facet": 99}}), picture)
    assert [each.field for each in caught.value.violations] == ["params.facet"]


def test_a_deadline_that_has_passed_is_told_as_such(picture: bytes, demo_server: Server) -> None:
    with (
        FeatsvcClient(demo_server.target, api_key=KEY, retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(errors.DeadlineExceeded),
    ):
        client.generate_masks(picture, timeout=0.01, preset="fine_grained")


def test_grpc_still_serves_after_all_of_that(picture: bytes, over_grpc: Grpc) -> None:
    assert over_grpc.client.dino_features(picture).array.size


def test_a_point_outside_the_picture_fails_alone_in_a_stream(picture: bytes, demo_server: Server) -> None:
    prompts = [{"point_coords": [[x, 9]], "point_labels": [1]} for x in (9, 5000)]
    asked = [(name, picture, [prompt]) for name, prompt in zip(("inside", "outside"), prompts, strict=True)]
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        answers = dict(client.stream_predict_masks(asked))
    refusal = answers.pop("outside")
    assert isinstance(refusal, errors.InvalidRequest)
    assert [each.field for each in refusal.violations] == ["prompts[0].point_coords[0]"]
    ((inside,),) = answers.values()
    assert inside.masks.any()
