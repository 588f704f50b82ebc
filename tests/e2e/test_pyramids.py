"""Pyramids from the wire to arrays: over gRPC, in a stream, over REST, estimated, and kept for further points."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, InvalidRequest, Pyramid
from numpy.typing import NDArray

from tests.servers import KEY, Server

FEW: Any = {"tile_ratio_min": 0.3, "tile_ratio_max": 0.9, "tile_levels": 3, "tile_stride_ratio": 1.0}
POINTS = [[0, 0, 0.3], [255, 191, 0.9], [100.5, 60, 0.47]]


@pytest.fixture(scope="module")
def tiles(demo_server: Server, picture: bytes) -> Pyramid:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        return client.embed_pyramid(picture, **FEW)


def posted(server: Server, body: dict[str, Any], accept: str = "application/json") -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}", "Accept": accept}
    return httpx.post(f"{server.url('clip')}/embed_pyramid", json=body, headers=headers, timeout=120)


def vectors(reply: dict[str, Any]) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(reply["features"]), "<f4").reshape(reply["shape"])


def test_the_python_client_has_a_grid_of_each_level(tiles: Pyramid) -> None:
    # Tiles of 57, 115 and 172 pixels of 192, their whole side apart.
    assert [(each.tile_size, each.stride) for each in tiles.levels] == [(57, 57), (115, 115), (172, 172)]
    assert [each.shape[:2] for each in tiles.grids] == [(4, 5), (2, 3), (2, 2)]
    np.testing.assert_array_equal(tiles.levels[0].ys, [0, 57, 114, 171])
    np.testing.assert_array_equal(tiles.levels[2].xs, [-0.5, 171.5])
    np.testing.assert_allclose(np.linalg.norm(tiles.array, axis=1), 1, atol=1e-5)
    assert (tiles.model, tiles.height, tiles.width) == ("demo-clip", 192, 256)


def test_rest_answers_the_same(demo_server: Server, picture: bytes, tiles: Pyramid) -> None:
    body = {"image": base64.b64encode(picture).decode(), **FEW}
    reply = posted(demo_server, body)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    np.testing.assert_array_equal(vectors(answer), tiles.array)
    assert answer["levels"] == [vars(each) for each in tiles.levels]
    raw = posted(demo_server, body, "application/octet-stream")
    assert raw.content == tiles.array.tobytes()
    assert json.loads(raw.headers["X-Featsvc-Levels"]) == answer["levels"]
    sampled = posted(demo_server, {**body, "scaled_points": POINTS[:1]})
    np.testing.assert_allclose(vectors(sampled.json()), tiles.array[:1], atol=1e-6)


@pytest.mark.slow
def test_rest_and_grpc_answer_a_pyramid_of_the_defaults_alike(demo_server: Server, picture: bytes) -> None:
    reply = posted(demo_server, {"image": base64.b64encode(picture).decode()})
    assert reply.status_code == 200, reply.text
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        pyramid = client.embed_pyramid(picture)
    assert [round(each.tile_ratio, 3) for each in pyramid.levels] == pytest.approx(
        np.linspace(0.05, 0.5, 7), abs=1e-3
    )
    assert len(pyramid.array) == sum(grid.shape[0] * grid.shape[1] for grid in pyramid.grids)
    np.testing.assert_array_equal(vectors(reply.json()), pyramid.array)


def test_points_of_a_picture_that_is_known_need_no_tiles_anew(
    demo_server: Server, picture: bytes, tiles: Pyramid
) -> None:
    async def asked() -> tuple[Pyramid, Pyramid, int]:
        async with AsyncFeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
            cold = await client.embed_pyramid(picture, **{**FEW, "scaled_points": POINTS})
            hits = await kept(client)
            warm = await client.embed_pyramid(cold.image_digest, **{**FEW, "scaled_points": POINTS})
            return cold, warm, await kept(client) - hits

    async def kept(client: AsyncFeatsvcClient) -> int:
        status = await client.status()
        caches = (each for worker in status.workers for each in worker.caches)
        return sum(each.hits for each in caches if each.name == "clip_pyramids")

    cold, warm, hits = asyncio.run(asked())
    assert hits == 1
    np.testing.assert_array_equal(warm.array, cold.array)
    # The first point is the centre of the first tile of the first level.
    np.testing.assert_allclose(cold.array[0], tiles.array[0], atol=1e-6)
    with pytest.raises(ValueError, match="vectors at points or places"):
        _ = cold.grids


def test_many_pictures_are_asked_about_over_one_call(
    demo_server: Server, picture: bytes, tiles: Pyramid
) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        asked = [("good", picture), ("bad", b"no picture")]
        answers = dict(client.stream_embed_pyramid(asked, pyramid_dtype="int8", **FEW))
        assert client.estimate(client.embed_pyramid, picture, **FEW).model == "demo-clip"
    assert isinstance(answers["bad"], InvalidRequest)
    assert isinstance(answers["good"], Pyramid)
    assert answers["good"].raw.dtype == np.int8
    np.testing.assert_allclose(answers["good"].array, tiles.array, atol=0.01)


def test_what_is_wrong_is_told_by_the_callers_own_names(demo_server: Server, picture: bytes) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        with pytest.raises(
            InvalidRequest, match=r"pyramid.scaled_points\[1\].*no scale 0.2: tile_ratio_min is 0.3"
        ):
            client.embed_pyramid(picture, scaled_points=[[1, 1, 0.4], [1, 1, 0.2]], **FEW)
        with pytest.raises(InvalidRequest, match="scaled_points and scaled_grid exclude each other"):
            client.embed_pyramid(
                picture, scaled_points=POINTS, scaled_grid={"width": 2, "height": 2, "scales": [0.4]}, **FEW
            )
    wrong = posted(
        demo_server, {"image": base64.b64encode(picture).decode(), **FEW, "scaled_points": [[256, 0, 0.4]]}
    )
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "scaled_points", 0])
