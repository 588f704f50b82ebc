"""Every status of the gateway has its HTTP form, and no reply tells more than its caller may know."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from pydantic import ValidationError

from featsvc.errors import InvalidFields
from featsvc.fields.base import MOST_TOLD
from featsvc.server.calls.statuses import status_details
from featsvc.twin import from_message, violations
from featsvc.v1 import clip_pb2, sam2_pb2, schema
from rest_shim.request.locations import location
from tests.parts import parts
from tests.rest.fake_gateway import KEY, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim, until_asked

pytestmark = pytest.mark.asyncio(loop_scope="session")
EXTRACT = "ClipService/ExtractFeatures"
SECRET = "/srv/featsvc/engines/clip/operations.py: KeyError"


@pytest.mark.parametrize(
    ("code", "status", "headers"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400, {}),
        (grpc.StatusCode.UNAUTHENTICATED, 401, {"www-authenticate": "Bearer"}),
        (grpc.StatusCode.NOT_FOUND, 404, {}),
        (grpc.StatusCode.FAILED_PRECONDITION, 409, {}),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, {"retry-after": "1"}),
        (grpc.StatusCode.CANCELLED, 499, {}),
        (grpc.StatusCode.UNAVAILABLE, 503, {"retry-after": "1"}),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, {}),
    ],
)
async def test_a_status_becomes_its_http_form_with_the_gateways_words(
    ports: Shim, gateway: FakeGateway, code: grpc.StatusCode, status: int, headers: dict[str, str]
) -> None:
    gateway.fail(EXTRACT, code, "what to do about it")
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert response.status_code == status
    assert response.json() == {"detail": "what to do about it"}
    assert headers.items() <= dict(response.headers).items()


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS]
)
async def test_a_defect_shows_only_an_id(ports: Shim, gateway: FakeGateway, code: grpc.StatusCode) -> None:
    gateway.fail(EXTRACT, code, SECRET)
    response = await ports.post("clip", "/extract", {"image": PICTURE}, X_Request_Id="find-me")
    assert response.status_code == 500
    assert response.json().keys() == {"detail"}
    assert "srv" not in response.text
    assert "find-me" in response.json()["detail"]


async def test_a_defect_of_the_shim_shows_only_an_id(ports: Shim, gateway: FakeGateway) -> None:
    gateway.replies["Sam2Service/PredictMasks"].results.pop()
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE}, X_Request_Id="find-me-too")
    assert response.status_code == 500
    assert response.json() == {"detail": "internal error; the server's log has it under find-me-too"}


async def test_the_time_to_wait_is_rounded_up_to_seconds(ports: Shim, gateway: FakeGateway) -> None:
    gateway.fail(EXTRACT, grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", ("retry-after-ms", "1200"))
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")


async def test_more_calls_than_the_gateway_takes_are_429_to_come_back_later() -> None:
    async with fake_gateway(max_calls=1) as fake, shim(fake.target) as ports:
        asked, _ = fake.wait(EXTRACT)
        waiting = await until_asked(ports, asked)
        # Whether its key is known or must be judged first.
        for key in (KEY, "another"):
            sent = {"Authorization": f"Bearer {key}"}
            response = await ports.post("clip", "/encode_text", {"text": "a"}, **sent)
            assert (response.status_code, response.headers.get("retry-after")) == (429, "1")
        assert not waiting.done()
        waiting.cancel()


def details(*fields: tuple[str, str]) -> tuple[str, bytes]:
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in fields
        ]
    )
    packed = AnyMessage()
    packed.Pack(bad)
    return "grpc-status-details-bin", status_pb2.Status(details=[packed]).SerializeToString()


async def test_field_violations_of_the_gateway_name_fields_of_the_body(
    ports: Shim, gateway: FakeGateway
) -> None:
    bad = details(
        ("params.load_size", "is odd"), ("image.url", "is not public"), ("image.content", "is no picture")
    )
    gateway.fail(EXTRACT, grpc.StatusCode.INVALID_ARGUMENT, "fields", bad)
    response = await ports.post("clip", "/extract", {"image": PICTURE})
    assert response.status_code == 422
    assert response.json()["detail"] == [
        {"loc": ["body", "load_size"], "msg": "is odd", "type": "invalid"},
        {"loc": ["body", "image_url"], "msg": "is not public", "type": "invalid"},
        {"loc": ["body", "image"], "msg": "is no picture", "type": "invalid"},
    ]


BAD_PARAMS: list[dict[str, Any]] = [
    {"load_size": 0},
    {"load_size": 9000},
    {"pca_q_min": 0.5, "pca_q_max": 0.5},
    {"center_crop": True, "load_size": -1},
    {"model_name": "x" * 129},
    {"pca_niter": -1},
]


@pytest.mark.parametrize("params", BAD_PARAMS, ids=str)
async def test_the_same_mistake_has_the_same_words_over_grpc_and_rest(
    ports: Shim, gateway: FakeGateway, params: dict[str, Any]
) -> None:
    request = clip_pb2.ClipServiceExtractFeaturesRequest(
        image={"content": b"x"}, **parts(schema.ClipExtractFeaturesParams, params)
    )
    with pytest.raises(ValidationError) as caught:
        from_message(request, schema.ClipServiceExtractFeaturesRequest)
    found = violations(caught.value, schema.ClipServiceExtractFeaturesRequest)
    over_grpc = [(location(each.field, request.DESCRIPTOR), each.message) for each in found]
    response = await ports.post("clip", "/extract", {"image": PICTURE, **params})
    assert response.status_code == 422
    assert [(tuple(each["loc"][1:]), each["msg"]) for each in response.json()["detail"]] == over_grpc
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("path", "given", "field"),
    [
        ("/prompt_mask", {"image": PICTURE, "point_labels": [1]}, "point_labels"),
        ("/prompt_mask", {"image": PICTURE, "box": [3, 3, 2, 2]}, "box"),
        ("/prompt_mask", {"image": PICTURE, "box": [1, 2, 3]}, "box"),
        ("/prompt_mask", {"image": PICTURE, "mask_input": "AAAA"}, "mask_input_shape"),
        ("/prompt_mask", {"image": PICTURE, "mask_input_shape": [1, 2, 2]}, "mask_input"),
        (
            "/prompt_mask",
            {"image": PICTURE, "mask_input": "AAAA", "mask_input_shape": [1, 2, 2]},
            "mask_input",
        ),
        (
            "/prompt_mask",
            {"image": PICTURE, "mask_input": "AAAA", "mask_input_shape": [-1]},
            "mask_input_shape",
        ),
        ("/auto_mask", {"image": PICTURE, "preset": "fine_graned"}, "preset"),
        ("/auto_mask", {"image": PICTURE, "points_per_side": 10**30}, "points_per_side"),
        ("/auto_mask", {"image": PICTURE, "points_per_side": "many"}, "points_per_side"),
        ("/auto_mask", {"image": PICTURE, "pionts": 3}, "pionts"),
        ("/auto_mask", {"image": PICTURE, "image_url": "https://example.com/a.png"}, "image"),
        ("/auto_mask", {}, "image"),
        ("/auto_mask", {"image": None}, "image"),
        ("/auto_mask", {"image": 7}, "image"),
        ("/auto_mask", {"image": ["a"]}, "image"),
    ],
    ids=str,
)
async def test_a_bad_field_is_named_before_the_gateway_is_asked(
    ports: Shim, gateway: FakeGateway, path: str, given: dict[str, Any], field: str
) -> None:
    response = await ports.post("sam2", path, given)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][:2] == ["body", field]
    assert response.json()["detail"][0].keys() == {"loc", "msg", "type"}
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("path", "given", "field", "words"),
    [
        ("/auto_mask", {"pionts_per_side": 3}, "pionts_per_side", "is not known here: did you mean points_per_side?"),
        ("/prompt_mask", {"boxs": [1, 2, 3, 4]}, "boxs", "is not known here: did you mean box?"),
        ("/prompt_mask", {"qqq": 1}, "qqq", "is not known here; known are image, image_url, "),
        ("/prompt_mask", {"box": [[1, 2, 3, 4]] * 2}, "box", "must be a list: [x0, y0, x1, y1], and here are"),
        ("/prompt_mask", {"box": [[1, 2, 3, 4]] * 9}, "box", "must be a list: [x0, y0, x1, y1], and here are"),
        ("/auto_mask", {"image": "docs/scene.jpg"}, "image", "is not base64: send what is in the file"),
        ("/auto_mask", {"image": "https://example.com/a.jpg"}, "image", "an address is given as image_url"),
    ],
    ids=str,
)  # fmt: skip
async def test_a_bad_field_is_told_with_what_would_be_right(
    ports: Shim, path: str, given: dict[str, Any], field: str, words: str
) -> None:
    response = await ports.post("sam2", path, {"image": PICTURE, **given})
    (told,) = response.json()["detail"]
    assert told["loc"] == ["body", field]
    assert words in told["msg"]


async def test_load_size_is_found_by_its_words(ports: Shim) -> None:
    response = await ports.post("dino", "/extract", {"image": PICTURE, "loadsize": 448})
    assert response.json()["detail"][0]["msg"] == "is not known here: did you mean load_size?"


async def test_a_422_repeats_nothing_of_the_input(ports: Shim, gateway: FakeGateway) -> None:
    marker = "Zm9ybXVsYSBvZiB0aGUgcGljdHVyZQ" * 20
    given = {
        "image": marker,
        "load_size": marker,
        "interpolation_mode": marker,
        "ret_pca": marker,
        marker: marker,
    }
    response = await ports.post("clip", "/extract", given)
    assert response.status_code == 422
    assert len(response.json()["detail"]) == 4
    assert marker[:70] not in response.text
    assert len(response.text) < 2000


async def test_a_thousand_mistakes_are_not_all_told(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.post("sam2", "/prompt_mask", {"image": PICTURE, "point_labels": [5] * 1000})
    assert len(response.json()["detail"]) == MOST_TOLD


async def test_of_many_mistakes_rest_tells_those_that_grpc_tells(ports: Shim, gateway: FakeGateway) -> None:
    wrong = {
        "points_per_side": 0,
        "points_per_batch": 0,
        "pred_iou_thresh": 2,
        "stability_score_thresh": 2,
        "box_nms_thresh": 2,
        "crop_nms_thresh": 2,
        "crop_n_layers": -1,
        "crop_overlap_ratio": 2,
        "crop_n_points_downscale_factor": 0,
        "min_mask_region_area": -1,
    }
    request = sam2_pb2.GenerateMasksRequest(
        image={"content": b"x"}, **parts(schema.GenerateMasksParams, wrong)
    )
    with pytest.raises(ValidationError) as caught:
        from_message(request, schema.GenerateMasksRequest)
    found = violations(caught.value, schema.GenerateMasksRequest)
    assert len(found) == MOST_TOLD
    assert found[-1].message.endswith("(and at least 2 more)")
    status = status_details(grpc.StatusCode.INVALID_ARGUMENT, InvalidFields(found))
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    over_grpc = [
        (location(each.field, request.DESCRIPTOR), each.description) for each in bad.field_violations
    ]
    response = await ports.post("sam2", "/auto_mask", {"image": PICTURE, **wrong})
    assert [(tuple(each["loc"][1:]), each["msg"]) for each in response.json()["detail"]] == over_grpc


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/extract", 405)])
async def test_wrong_paths_and_methods_have_a_detail_too(
    ports: Shim, method: str, path: str, status: int
) -> None:
    response = await ports.client.request(method, ports.url("clip", path))
    assert response.status_code == status
    assert response.json().keys() == {"detail"}


async def test_no_gateway_is_503_without_its_address_and_heals_when_it_comes_back() -> None:
    async with fake_gateway() as fake:
        port = fake.port
    async with shim(fake.target) as ports:
        response = await ports.post("clip", "/extract", {"image": PICTURE})
        assert response.status_code == 503
        assert "retry-after" in response.headers
        assert str(port) not in response.text
        assert "127.0.0.1" not in response.text
        async with fake_gateway(port):
            await until_healthy(ports)
            assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200


async def until_healthy(ports: Shim) -> None:
    """Asks until the connection is made anew; gRPC waits at most a second between tries."""
    while (await ports.client.get(ports.url("clip", "/health"))).status_code != 200:
        pass


async def test_a_call_that_takes_too_long_is_504() -> None:
    async with fake_gateway() as fake, shim(fake.target, request_timeout=0.2) as ports:
        fake.wait(EXTRACT)
        response = await ports.post("clip", "/extract", {"image": PICTURE})
        assert response.status_code == 504
        assert response.json().keys() == {"detail"}
