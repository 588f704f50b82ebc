"""Replies of one tensor as bytes: the same numbers as in JSON, and what is known of them in headers."""

from __future__ import annotations

import base64
import io
import json

import grpc
import httpx
import numpy as np
import orjson
import pytest

from featsvc.codec import arrays
from featsvc.errors import FieldViolation, UnknownPicture
from featsvc.server.calls.statuses import status_details
from featsvc.v1 import clip_pb2, tensor_pb2
from rest_shim.reply import replies
from tests.rest.fake_gateway import FEATURES, FakeGateway
from tests.rest.shim import PICTURE, Shim, shim

pytestmark = pytest.mark.asyncio(loop_scope="session")
OCTETS, NPY = "application/octet-stream", "application/x-npy"
EXTRACT = "ClipService/ExtractFeatures"
DIGEST = "sha256:" + "0" * 64
PATHS = [
    ("clip", "/extract", {"image": PICTURE}),
    ("dino", "/extract", {"image": PICTURE}),
    ("clip", "/encode_text", {"text": "a"}),
    ("clip", "/encode_image", {"image": PICTURE}),
    ("clip", "/embed_pyramid", {"image": PICTURE}),
    ("clip", "/similarity", {"image": PICTURE, "text": "a"}),
]
BFLOAT16 = tensor_pb2.Tensor(
    dtype=tensor_pb2.D_TYPE_BFLOAT16,
    shape=[2, 2],
    data=np.array([0x3F80, 0x4000, 0, 0xC000], "<u2").tobytes(),
)
each_path = pytest.mark.parametrize(("family", "path", "given"), PATHS, ids=lambda each: str(each)[:16])


def loaded(response: httpx.Response) -> np.ndarray:
    found: np.ndarray = np.load(io.BytesIO(response.content), allow_pickle=False)
    return found


def rounded(tensor: tensor_pb2.Tensor, **rounding: object) -> clip_pb2.ClipServiceExtractFeaturesResponse:
    return clip_pb2.ClipServiceExtractFeaturesResponse(
        features=tensor, rounding=tensor_pb2.Rounding(**rounding), model="fake", image_digest=DIGEST
    )


def from_json(response: httpx.Response) -> np.ndarray:
    body = response.json()
    (encoded,) = (value for value in body.values() if isinstance(value, str))
    return np.frombuffer(base64.b64decode(encoded), "<f4").reshape(body["shape"])


@each_path
async def test_bytes_and_numpy_files_hold_what_json_holds(
    ports: Shim, gateway: FakeGateway, family: str, path: str, given: dict[str, object]
) -> None:
    in_json = from_json(await ports.post(family, path, given))
    octets = await ports.post(family, path, given, Accept=OCTETS)
    assert octets.headers["content-type"] == OCTETS
    assert octets.headers["x-featsvc-model"] == "fake"
    assert octets.headers["x-featsvc-dtype"] == "float32"
    assert "x-featsvc-rounding" not in octets.headers
    shape = json.loads(octets.headers["x-featsvc-shape"])
    np.testing.assert_array_equal(np.frombuffer(octets.content, "<f4").reshape(shape), in_json)
    npy = await ports.post(family, path, given, Accept=NPY)
    assert npy.headers["content-type"] == NPY
    assert npy.content[:8] == b"\x93NUMPY\x01\x00"
    np.testing.assert_array_equal(loaded(npy), in_json)
    assert octets.headers["x-featsvc-shape"] == npy.headers["x-featsvc-shape"]


async def test_the_old_reply_is_what_it_always_was(ports: Shim, gateway: FakeGateway) -> None:
    for accept in ("*/*", "application/json", "text/html, */*;q=0.2", ""):
        response = await ports.post("clip", "/extract", {"image": PICTURE}, Accept=accept)
        encoded = base64.b64encode(FEATURES.tobytes()).decode()
        assert response.content == orjson.dumps({"features": encoded, "shape": [2, 3, 4], "is_pca": False})
        assert response.headers["content-type"] == "application/json"
        assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("dtype", ["float16", "int8"])
async def test_smaller_types_come_as_they_are_with_what_they_have_cost(
    ports: Shim, gateway: FakeGateway, dtype: str
) -> None:
    array, scale = FEATURES.astype(dtype), np.array([0.5, 1, 2, 4], np.float32)
    cost = {"largest_error": 0.5, "mean_error": 0.125}
    scaled = {"scale": arrays.to_tensor(scale)} if dtype == "int8" else {}
    gateway.replies[EXTRACT] = rounded(arrays.to_tensor(array), **cost, **scaled)
    expected = cost | ({"scale": base64.b64encode(scale.tobytes()).decode()} if scaled else {})
    asked = {"image": PICTURE, "dtype": dtype}
    body = (await ports.post("clip", "/extract", asked)).json()
    replies.Features.model_validate(body, extra="forbid")
    assert (body["dtype"], body["rounding"]) == (dtype, expected)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(body["features"]), dtype), array.ravel())
    octets = await ports.post("clip", "/extract", asked, Accept=OCTETS)
    assert octets.content == array.tobytes()
    assert octets.headers["x-featsvc-dtype"] == dtype
    assert json.loads(octets.headers["x-featsvc-rounding"]) == expected
    npy = loaded(await ports.post("clip", "/extract", asked, Accept=NPY))
    assert npy.dtype == dtype
    np.testing.assert_array_equal(npy, array)
    assert gateway.requests[0].features.dtype == tensor_pb2.FeatureDType.Value(
        f"FEATURE_D_TYPE_{dtype.upper()}"
    )


async def test_bfloat16_comes_as_bytes_and_in_json_but_not_as_a_numpy_file(
    ports: Shim, gateway: FakeGateway
) -> None:
    gateway.replies[EXTRACT] = rounded(BFLOAT16, largest_error=0.1)
    asked = {"image": PICTURE, "dtype": "bfloat16"}
    octets = await ports.post("clip", "/extract", asked, Accept=OCTETS)
    assert (octets.content, octets.headers["x-featsvc-dtype"]) == (BFLOAT16.data, "bfloat16")
    body = (await ports.post("clip", "/extract", asked)).json()
    assert (base64.b64decode(body["features"]), body["dtype"]) == (BFLOAT16.data, "bfloat16")
    questions = len(gateway.requests)
    refused = await ports.post("clip", "/extract", asked, Accept=NPY)
    assert refused.status_code == 406
    assert "float16" in refused.json()["detail"]
    assert len(gateway.requests) == questions


async def test_scales_too_long_for_a_header_are_refused_with_a_way_out(
    ports: Shim, gateway: FakeGateway
) -> None:
    array = np.zeros((1, 3000), np.int8)
    gateway.replies[EXTRACT] = rounded(
        arrays.to_tensor(array), scale=arrays.to_tensor(np.ones(3000, np.float32))
    )
    refused = await ports.post("clip", "/extract", {"image": PICTURE, "dtype": "int8"}, Accept=OCTETS)
    assert refused.status_code == 406
    assert "application/json" in refused.json()["detail"]
    assert (await ports.post("clip", "/extract", {"image": PICTURE, "dtype": "int8"})).status_code == 200


@pytest.mark.parametrize("accept", [OCTETS, NPY])
async def test_replies_of_many_tensors_are_json_only(ports: Shim, gateway: FakeGateway, accept: str) -> None:
    refused = await ports.post("sam2", "/auto_mask", {"image": PICTURE}, Accept=accept)
    assert refused.status_code == 406
    assert refused.headers["content-type"] == "application/json"
    assert gateway.requests == []


async def test_errors_are_json_whatever_is_accepted(ports: Shim, gateway: FakeGateway) -> None:
    response = await ports.post("clip", "/extract", {"image": 7}, Accept=OCTETS)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "image"]


async def test_browsers_may_read_every_header(gateway: FakeGateway) -> None:
    gateway.replies[EXTRACT] = rounded(arrays.to_tensor(FEATURES.astype(np.float16)), largest_error=0.1)
    async with shim(gateway.target, cors_origins=("http://a.b",)) as ports:
        response = await ports.post(
            "clip", "/extract", {"image": PICTURE}, Accept=OCTETS, Origin="http://a.b"
        )
    exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
    assert {name for name in response.headers if name.startswith("x-")} <= exposed
    assert response.headers["x-featsvc-digest"] == DIGEST


async def test_a_picture_may_be_one_that_the_server_has(ports: Shim, gateway: FakeGateway) -> None:
    for family, path in (("clip", "/extract"), ("dino", "/extract"), ("sam2", "/prompt_mask")):
        assert (await ports.post(family, path, {"image_digest": DIGEST})).status_code == 200
        assert gateway.requests[-1].image.digest == DIGEST


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"image_digest": None},
        {"image": PICTURE, "image_digest": DIGEST},
        {"image_url": "http://a.b", "image_digest": DIGEST},
    ],
)
async def test_a_picture_has_exactly_one_source(
    ports: Shim, gateway: FakeGateway, given: dict[str, object]
) -> None:
    response = await ports.post("clip", "/extract", given)
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert problem["loc"] == ["body", "image"]
    assert problem["msg"] == "give exactly one of image, image_url, image_digest"


async def test_a_picture_that_is_gone_is_404_and_not_a_bad_field(ports: Shim, gateway: FakeGateway) -> None:
    status = status_details(
        grpc.StatusCode.NOT_FOUND,
        UnknownPicture([FieldViolation("image.digest", "gone: send the file again")]),
    )
    details = ("grpc-status-details-bin", status.SerializeToString())
    gateway.fail(EXTRACT, grpc.StatusCode.NOT_FOUND, "gone: send the file again", details)
    response = await ports.post("clip", "/extract", {"image_digest": DIGEST}, Accept=OCTETS)
    assert (response.status_code, response.json()) == (
        404,
        {"detail": "image_digest: gone: send the file again"},
    )


async def test_points_and_region_are_lists_of_numbers(ports: Shim, gateway: FakeGateway) -> None:
    await ports.post("clip", "/extract", {"image": PICTURE, "points": [[1, 2.5], [3, 4]]})
    await ports.post("dino", "/extract", {"image": PICTURE, "region": [1, 2, 3, 4.5]})
    first, second = (each.features for each in gateway.requests)
    assert [(each.x, each.y) for each in first.points] == [(1, 2.5), (3, 4)]
    assert (second.region.x0, second.region.y1) == (1, 4.5)
