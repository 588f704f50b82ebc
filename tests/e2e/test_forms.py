"""Every form of a reply, of the real server: the same answer over gRPC and REST, in JSON and as bytes."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from featsvc.codec import arrays
from featsvc.v1 import (
    clip_pb2,
    clip_pb2_grpc,
    dino_pb2,
    dino_pb2_grpc,
    features_pb2,
    image_pb2,
    sam2_pb2,
    sam2_pb2_grpc,
)
from tests.servers import KEY, Server

# pycocotools, an independent reader of run lengths, is older than numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
AUTHORISED = (("authorization", f"Bearer {KEY}"),)
HEADERS = {"Authorization": f"Bearer {KEY}"}
OCTETS, NPY = "application/octet-stream", "application/x-npy"
GRID = {"preset": "coarse", "points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}
POINT = {"point_coords": [[128, 96]], "point_labels": [1]}
# The picture's 12 x 16 patches of demo-clip as pixels of a larger picture: 45 MB.
LARGE = {"load_size": 256, "ret_patches": False}


@pytest.fixture(scope="module")
def channel(demo_server: Server) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(demo_server.target, options=options) as connected:
        yield connected


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=120, headers=HEADERS, trust_env=False) as connected:
        yield connected


@pytest.fixture(scope="session")
def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def base64_of(array: NDArray[np.generic]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def unpacked(text: str, shape: list[int]) -> NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(text), np.uint8).reshape(*shape[:-1], -1)
    return np.unpackbits(packed, axis=-1, count=shape[-1]).astype(bool)


def pixels(segmentation: Any, shape: list[int], encoding: str) -> NDArray[np.bool_]:
    """A mask of a REST reply, H x W."""
    match encoding:
        case "float32":
            return np.frombuffer(base64.b64decode(segmentation), "<f4").reshape(shape) > 0
        case "bits":
            return unpacked(segmentation, shape)
        case "coco_rle":
            return coco.decode(segmentation).astype(bool)
    file = Image.open(io.BytesIO(base64.b64decode(segmentation)))
    return np.frombuffer(file.convert("L").tobytes(), np.uint8).reshape(shape) > 0


def labelled(masks: list[NDArray[np.bool_]], quality: list[float]) -> NDArray[np.uint16]:
    """A label map of masks: the best on top."""
    found = np.zeros(masks[0].shape, np.uint16)
    for index in sorted(range(len(masks)), key=lambda each: quality[each]):
        found[masks[index]] = index + 1
    return found


def label_map(body: Mapping[str, Any]) -> NDArray[np.uint16]:
    return np.frombuffer(base64.b64decode(body["label_map"]), "<u2").reshape(body["label_map_shape"])


def asked(client: httpx.Client, server: Server, family: str, path: str, **body: object) -> dict[str, Any]:
    response = client.post(server.url(family) + path, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_automatic_masks_are_the_same_in_every_encoding(
    client: httpx.Client, demo_server: Server, encoded: str
) -> None:
    def ask(**form: str) -> dict[str, Any]:
        return asked(client, demo_server, "sam2", "/auto_mask", image=encoded, **GRID, **form)

    plain = ask()
    masks = [pixels(each["segmentation"], each["segmentation_shape"], "float32") for each in plain["masks"]]
    assert len(masks) > 2
    assert ask(mask_encoding="float32") == plain
    for encoding in ("bits", "coco_rle", "png"):
        other = ask(mask_encoding=encoding)
        for each, expected, before in zip(other["masks"], masks, plain["masks"], strict=True):
            found = pixels(each.pop("segmentation"), each["segmentation_shape"], encoding)
            np.testing.assert_array_equal(found, expected)
            assert each == {name: before[name] for name in each}
    table = ask(mask_encoding="label_map")
    quality = [each["predicted_iou"] for each in plain["masks"]]
    np.testing.assert_array_equal(label_map(table), labelled(masks, quality))
    assert [each["area"] for each in table["masks"]] == [each["area"] for each in plain["masks"]]
    assert not any("segmentation" in each for each in table["masks"])


def test_prompt_masks_are_the_same_in_every_encoding(
    client: httpx.Client, demo_server: Server, encoded: str
) -> None:
    def ask(**form: object) -> dict[str, Any]:
        return asked(client, demo_server, "sam2", "/prompt_mask", image=encoded, **POINT, **form)

    plain = ask()
    masks = pixels(plain["masks"], plain["masks_shape"], "float32")
    same = ("iou_predictions", "low_res_masks", "masks_shape")
    for encoding in ("bits", "coco_rle", "png"):
        other = ask(mask_encoding=encoding)
        assert [other[name] for name in same] == [plain[name] for name in same]
        if encoding == "bits":
            found = unpacked(other["masks"], other["masks_shape"])
        else:
            size = plain["masks_shape"][1:]
            found = np.stack([pixels(each, size, encoding) for each in other["masks"]])
        np.testing.assert_array_equal(found, masks)
    scores = np.frombuffer(base64.b64decode(plain["iou_predictions"]), "<f4")
    table = ask(mask_encoding="label_map", return_low_res=False)
    np.testing.assert_array_equal(label_map(table), labelled(list(masks), scores.tolist()))
    assert not {"masks", "low_res_masks", "low_res_shape"} & table.keys()


@pytest.mark.parametrize("encoding", ["bits", "coco_rle", "png", "label_map"])
def test_rest_and_grpc_write_masks_alike(
    client: httpx.Client, channel: grpc.Channel, demo_server: Server, picture: bytes, encoding: str
) -> None:
    name = f"MASK_ENCODING_{encoding.upper()}"
    over_grpc = sam2_pb2_grpc.Sam2ServiceStub(channel).GenerateMasks(
        sam2_pb2.GenerateMasksRequest(
            image=image_pb2.Image(content=picture),
            params=sam2_pb2.AutomaticMaskParams(**GRID | {"preset": "PRESET_COARSE"}),
            masks=sam2_pb2.MaskParams(mask_encoding=name),
        ),
        metadata=AUTHORISED,
    )
    text = base64.b64encode(picture).decode()
    body = asked(client, demo_server, "sam2", "/auto_mask", image=text, **GRID, mask_encoding=encoding)
    for ours, theirs in zip(body["masks"], over_grpc.masks, strict=True):
        match theirs.WhichOneof("segmentation"):
            case "bitmap":
                assert base64.b64decode(ours["segmentation"]) == theirs.bitmap.data
            case "rle":
                assert ours["segmentation"]["counts"] == theirs.rle.coco
            case "png":
                assert base64.b64decode(ours["segmentation"]) == theirs.png
    if encoding == "label_map":
        assert base64.b64decode(body["label_map"]) == over_grpc.label_map.data


def test_bits_are_thirty_and_run_lengths_four_hundred_times_smaller(
    client: httpx.Client, demo_server: Server, picture: bytes
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).resize((1024, 768)).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    size = {}
    for encoding in ("float32", "bits", "coco_rle"):
        body = {"image": text, "mask_encoding": encoding, **GRID, "pred_iou_thresh": 0.5}
        response = client.post(demo_server.url("sam2") + "/auto_mask", json=body)
        assert response.json()["num_masks"] > 0
        size[encoding] = len(response.content)
    assert size["float32"] > 30 * size["bits"]
    assert size["float32"] > 400 * size["coco_rle"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("family", ["clip", "dino"])
def test_features_of_each_type_are_the_same_over_grpc_and_in_every_form_of_rest(
    client: httpx.Client, channel: grpc.Channel, demo_server: Server, picture: bytes, family: str, dtype: str
) -> None:
    over_grpc = features_over_grpc(channel, family, picture, dtype)
    body = {"image": base64.b64encode(picture).decode(), "dtype": dtype, "load_size": -1}
    url = demo_server.url(family) + "/extract"
    in_json = client.post(url, json=body).json()
    octets = client.post(url, json=body, headers={"Accept": OCTETS})
    npy = client.post(url, json=body, headers={"Accept": NPY})
    assert base64.b64decode(in_json["features"]) == octets.content == over_grpc.features.data
    assert in_json["shape"] == json.loads(octets.headers["x-featsvc-shape"]) == list(over_grpc.features.shape)
    assert octets.headers["x-featsvc-dtype"] == dtype
    assert in_json.get("dtype", "float32") == dtype
    if dtype == "float32":
        assert "rounding" not in in_json
    else:
        assert in_json["rounding"] == json.loads(octets.headers["x-featsvc-rounding"])
        assert in_json["rounding"]["largest_error"] == over_grpc.rounding.largest_error > 0
    if dtype == "int8":
        assert base64.b64decode(in_json["rounding"]["scale"]) == over_grpc.rounding.scale.data
    if dtype == "bfloat16":
        assert npy.status_code == 406
    else:
        np.testing.assert_array_equal(np.load(io.BytesIO(npy.content)), arrays.to_array(over_grpc.features))


def features_over_grpc(channel: grpc.Channel, family: str, picture: bytes, dtype: str) -> Any:
    features = features_pb2.FeatureParams(dtype=f"FEATURE_D_TYPE_{dtype.upper()}")
    image = image_pb2.Image(content=picture)
    if family == "clip":
        return clip_pb2_grpc.ClipServiceStub(channel).ExtractFeatures(
            clip_pb2.ClipServiceExtractFeaturesRequest(
                image=image, params=clip_pb2.ClipParams(load_size=-1), features=features
            ),
            metadata=AUTHORISED,
        )
    return dino_pb2_grpc.DinoServiceStub(channel).ExtractFeatures(
        dino_pb2.DinoServiceExtractFeaturesRequest(
            image=image, params=dino_pb2.DinoParams(load_size=-1), features=features
        ),
        metadata=AUTHORISED,
    )


@pytest.mark.parametrize("given", [{"points": [[10, 20], [128.5, 96]]}, {"region": [40, 30, 120, 100]}])
@pytest.mark.parametrize("family", ["clip", "dino"])
def test_points_and_region_answer_a_part_of_what_the_whole_picture_does(
    client: httpx.Client, demo_server: Server, encoded: str, family: str, given: dict[str, Any]
) -> None:
    whole = asked(client, demo_server, family, "/extract", image=encoded, load_size=-1)
    part = asked(client, demo_server, family, "/extract", image=encoded, load_size=-1, **given)
    assert len(part["features"]) < len(whole["features"]) / 4
    assert part["shape"][-1] == whole["shape"][-1]
    assert len(part["shape"]) == (2 if "points" in given else 3)


def test_a_picture_uploaded_once_is_asked_about_on_all_three_ports(
    client: httpx.Client, demo_server: Server, encoded: str
) -> None:
    first = client.post(demo_server.url("clip") + "/extract", json={"image": encoded, "load_size": -1})
    digest = first.headers["x-featsvc-digest"]
    paths = (
        ("clip", "/extract", {"load_size": -1}),
        ("dino", "/extract", {}),
        ("sam2", "/prompt_mask", POINT),
    )
    for family, path, options in paths:
        by_file = client.post(demo_server.url(family) + path, json={"image": encoded, **options})
        by_name = client.post(demo_server.url(family) + path, json={"image_digest": digest, **options})
        assert (by_name.status_code, by_name.content) == (200, by_file.content)
        assert by_name.headers["x-featsvc-digest"] == digest


def test_a_picture_that_the_server_does_not_have_is_404(client: httpx.Client, demo_server: Server) -> None:
    unknown = {"image_digest": "sha256:" + "12" * 32}
    response = client.post(demo_server.url("sam2") + "/auto_mask", json=unknown)
    assert response.status_code == 404
    assert response.json().keys() == {"detail"}


def test_a_large_reply_is_the_same_as_bytes_and_in_json(
    client: httpx.Client, demo_server: Server, encoded: str
) -> None:
    body = {"image": encoded, **LARGE}
    url = demo_server.url("clip") + "/extract"
    octets = client.post(url, json=body, headers={"Accept": OCTETS})
    in_json = client.post(url, json=body).json()
    assert len(octets.content) > 40_000_000
    assert base64.b64decode(in_json["features"]) == octets.content


def test_a_caller_that_leaves_in_the_middle_of_a_large_reply_frees_the_server(
    client: httpx.Client, demo_server: Server, encoded: str
) -> None:
    body = json.dumps({"image": encoded, **LARGE}).encode()
    head = f"POST /extract HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nAccept: {OCTETS}\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", demo_server.clip_port)) as leaving:
            leaving.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert leaving.recv(1000).startswith(b"HTTP/1.1 200")
    assert asked(client, demo_server, "clip", "/encode_text", text="a star")["shape"] == [128]
    assert "Traceback" not in demo_server.log.read_text()
