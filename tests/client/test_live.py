"""The clients against the demo server: pieces, digests, streams, types, encodings, and where cells lie."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from featsvc_client import (
    AsyncFeatsvcClient,
    FeatsvcClient,
    InvalidRequest,
    PictureNotFound,
    clip_client,
    grid,
    rest,
    sam2_client,
)
from featsvc_client.pictures import Picture
from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions, draw
from tests.servers import KEY, Server

CLICK = {"point_coords": [[60, 60]], "point_labels": [1]}


def drawn(seed: int) -> bytes:
    """A picture that is large enough as a file to go by its name."""
    scene = draw(HELD_OUT_SEED + seed, SceneOptions(min_objects=3, max_objects=3))
    buffer = io.BytesIO()
    Image.fromarray(scene.image).resize((320, 240)).save(buffer, "BMP")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def client(demo_server: Server) -> Iterator[FeatsvcClient]:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as connected:
        yield connected


@pytest.fixture
def address(demo_server: Server) -> Iterator[dict[str, Any]]:
    yield {"base_url": demo_server.url("clip"), "api_key": KEY, "timeout": 120.0}
    rest.POOLS.close()


def test_features_in_pieces_equal_those_in_one_message(client: FeatsvcClient, demo_server: Server) -> None:
    image = drawn(1)
    pieces = client.dino_features(image, ret_patches=False)
    assert pieces.array.nbytes > 3 << 20
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as plain:
        plain._session.missing.add("/featsvc.v1.DinoService/ExtractFeaturesChunked")
        whole = plain.dino_features(image, ret_patches=False)
    np.testing.assert_array_equal(pieces.array, whole.array)
    assert pieces.geometry == whole.geometry
    assert pieces.image_digest == whole.image_digest == Picture(image).digest


def test_a_second_click_sends_no_file(client: FeatsvcClient) -> None:
    image = drawn(2)
    embedded = client.embed_image(image)
    assert embedded.image_digest == Picture(image).digest
    assert (embedded.height, embedded.width, embedded.was_cached) == (240, 320, False)
    assert embedded.size_bytes > 0
    (before,) = client.predict_masks(embedded.image_digest, **CLICK)
    (by_picture,) = client.predict_masks(image, **CLICK)
    np.testing.assert_array_equal(before.masks, by_picture.masks)
    assert client.embed_image(image).was_cached
    images = client.status().images
    assert images.entries >= 1
    assert images.hits >= 2


def test_a_picture_that_the_server_never_had_is_not_found(
    client: FeatsvcClient, address: dict[str, Any]
) -> None:
    with pytest.raises(PictureNotFound):
        client.clip_features("sha256:" + "0" * 64)
    with pytest.raises(PictureNotFound):
        clip_client.extract_clip_features_decoded("sha256:" + "0" * 64, **address)


def test_a_picture_that_the_server_has_given_up_is_sent_again(client: FeatsvcClient) -> None:
    image = Picture(drawn(3))
    assert client._session.pictures is not None
    client._session.pictures.confirm(image, image.digest)
    assert client.clip_features(image.content, load_size=64).image_digest == image.digest


@pytest.mark.parametrize(
    ("dtype", "raw"), [("float16", np.float16), ("bfloat16", np.uint16), ("int8", np.int8)]
)
@pytest.mark.parametrize("tensor_format", ["HWC", "CHW"])
def test_rounded_features_are_as_near_as_the_answer_says(
    client: FeatsvcClient, address: dict[str, Any], dtype: Any, raw: type, tensor_format: Any
) -> None:
    image = drawn(4)
    exact = client.clip_features(image, load_size=64, tensor_format=tensor_format)
    small = client.clip_features(image, load_size=64, tensor_format=tensor_format, dtype=dtype)
    assert exact.rounding is None
    assert small.rounding is not None
    assert small.raw.dtype == raw
    error = np.abs(small.array - exact.array)
    assert 0 < error.max() <= small.rounding.largest_error * 1.0001
    assert error.mean() <= small.rounding.mean_error * 1.0001
    over_rest = clip_client.extract_clip_features_decoded(
        image, load_size=64, tensor_format=tensor_format, dtype=dtype, **address
    )
    np.testing.assert_array_equal(over_rest, small.array)


def test_points_at_the_centres_of_cells_give_the_features_of_the_cells(client: FeatsvcClient) -> None:
    image = drawn(5)
    whole = client.dino_features(image, load_size=160)
    height, width, depth = whole.array.shape
    cells = np.array([[1, 1], [2, 5], [height - 2, width - 2]])
    points = grid.positions(whole.geometry, cells)
    found = client.dino_features(image, load_size=160, points=points.tolist())
    assert found.array.shape == (3, depth)
    np.testing.assert_allclose(found.array, whole.array[cells[:, 0], cells[:, 1]], atol=1e-4)


def test_a_region_is_a_window_of_the_grid(client: FeatsvcClient) -> None:
    image = drawn(5)
    whole = client.dino_features(image)
    part = client.dino_features(image, region=[100, 50, 200, 150])
    row, column = part.geometry.first_row, part.geometry.first_column
    height, width = part.array.shape[:2]
    assert row > 0
    assert column > 0
    np.testing.assert_array_equal(part.array, whole.array[row : row + height, column : column + width])
    inside = grid.positions(part.geometry, [[0, 0], [height - 1, width - 1]])
    np.testing.assert_allclose(
        inside, grid.positions(whole.geometry, [[row, column], [row + height - 1, column + width - 1]])
    )


@pytest.mark.parametrize("encoding", ["float32", "coco_rle", "png", "label_map"])
def test_masks_are_the_same_in_every_encoding(
    client: FeatsvcClient, demo_server: Server, encoding: Any
) -> None:
    image = drawn(6)
    bits = client.generate_masks(image, points_per_side=8)
    others = client.generate_masks(image, points_per_side=8, mask_encoding=encoding)
    assert len(others) == len(bits) > 0
    if encoding == "label_map":
        assert others.summary.label_map is not None
        covered = np.any([each.segmentation for each in bits], axis=0)
        np.testing.assert_array_equal(others.summary.label_map > 0, covered)
    else:
        for one, other in zip(bits, others, strict=True):
            np.testing.assert_array_equal(one.segmentation, other.segmentation)
    (clicked,) = client.predict_masks(image, **CLICK)
    (written,) = client.predict_masks(image, mask_encoding=encoding, return_low_res=False, **CLICK)
    assert written.low_res_masks.size == 0
    where = {"base_url": demo_server.url("sam2"), "api_key": KEY, "timeout": 120.0}
    over_rest, _, _ = sam2_client.sam2_point_mask(image, mask_encoding=encoding, **CLICK, **where)
    np.testing.assert_array_equal(over_rest, written.masks)
    if encoding != "label_map":
        np.testing.assert_array_equal(written.masks, clicked.masks)
    rest.POOLS.close()


def test_masks_one_by_one_are_those_of_one_answer(client: FeatsvcClient) -> None:
    image = drawn(6)
    whole = client.generate_masks(image, points_per_side=8)
    *masks, summary = client.generate_masks_stream(image, points_per_side=8)
    assert summary.count == len(masks) == len(whole)
    assert (summary.image_digest, summary.height) == (whole.summary.image_digest, 240)
    for one, other in zip(masks, whole, strict=True):
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        assert one.predicted_iou == other.predicted_iou


IMAGES = [(f"picture {number}", drawn(number)) for number in range(6)] + [("bad", b"no picture at all")]


def test_a_data_set_is_answered_over_one_stream(client: FeatsvcClient) -> None:
    found = dict(client.stream_clip_features(IMAGES, window=3, load_size=64))
    assert isinstance(found.pop("bad"), InvalidRequest)
    assert found.keys() == {name for name, _ in IMAGES[:-1]}
    for name, image in IMAGES[:-1]:
        np.testing.assert_allclose(
            found[name].array, client.clip_features(image, load_size=64).array, atol=1e-4
        )


def test_a_data_set_is_answered_over_one_stream_of_the_asyncio_client(demo_server: Server) -> None:
    async def answers() -> dict[Any, Any]:
        async with AsyncFeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as connected:
            prompted = connected.stream_predict_masks(IMAGES, [CLICK, {"box": [9, 9, 99, 99]}])
            return {name: each async for name, each in prompted}

    found = asyncio.run(answers())
    assert isinstance(found.pop("bad"), InvalidRequest)
    assert {len(each) for each in found.values()} == {2}
    assert all(each[0].masks.shape == (3, 240, 320) for each in found.values())
