"""Objects from the wire to arrays: over gRPC, in a stream, over REST, by both Python clients."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, Exemplar, FeatsvcClient, FoundObjects, InvalidRequest, Objects

from featsvc.demo.drawing.scenes import Scene
from tests.servers import KEY, Server

WAYS: Any = [
    {"clip": {"params": {"load_size": 96}}, "pooled": {}},
    {"dino": {}, "crop": {"background": "black", "squaring": "pad"}},
]
CROP = {"background": "black", "squaring": "pad"}
FEW: Any = {"points_per_side": 6, "mask_encoding": "coco_rle", "describe": WAYS}


@pytest.fixture(scope="module")
def found(demo_server: Server, picture: bytes) -> Objects:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        return client.describe_objects(picture, **FEW)


def posted(server: Server, body: dict[str, Any], path: str = "describe_objects") -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{server.url('sam2')}/{path}", json=body, headers=headers, timeout=120)


def test_the_python_client_has_masks_and_vectors(found: Objects) -> None:
    assert len(found) >= 3
    assert found.masks.shape == (len(found), 192, 256)
    assert [each.model for each in found.descriptors] == ["demo-clip", "demo-dino"]
    for each in found.descriptors:
        np.testing.assert_allclose(np.linalg.norm(each.array, axis=1), 1, atol=1e-5)
    assert found.model == "demo-sam2"


def test_rest_answers_the_same(demo_server: Server, picture: bytes, found: Objects) -> None:
    reply = posted(demo_server, {"image": base64.b64encode(picture).decode(), **FEW})
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert answer["num_objects"] == len(found)
    assert [each["area"] for each in answer["objects"]] == [each.area for each in found]
    assert [each["parent"] for each in answer["objects"]] == [each.parent for each in found]
    for sent, own in zip(answer["descriptors"], found.descriptors, strict=True):
        vectors = np.frombuffer(base64.b64decode(sent["vectors"]), "<f4").reshape(sent["shape"])
        np.testing.assert_array_equal(vectors, own.array)
    assert reply.headers["X-Featsvc-Service"] == "ObjectService"


def test_the_masks_of_an_answer_can_be_asked_about_again(
    demo_server: Server, picture: bytes, found: Objects
) -> None:
    async def asked() -> Objects:
        async with AsyncFeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
            return await client.describe_objects(picture, bitmaps=found.masks, describe=WAYS)

    again = asyncio.run(asked())
    np.testing.assert_array_equal(again.masks, found.masks)
    for one, other in zip(again.descriptors, found.descriptors, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
    # Nobody asked SAM2.
    assert again.model == "demo-clip"
    assert all(each.predicted_iou == 0 and not len(each.point_coords) for each in again)


def test_png_files_go_over_rest_as_base64(demo_server: Server, picture: bytes, found: Objects) -> None:
    image = base64.b64encode(picture).decode()
    first = posted(demo_server, {"image": image, **FEW, "mask_encoding": "png"}).json()
    files = [each["segmentation"] for each in first["objects"]]
    reply = posted(demo_server, {"image": image, "png": files, "mask_encoding": "coco_rle", "describe": WAYS})
    assert [each["area"] for each in reply.json()["objects"]] == [each.area for each in found]
    wrong = posted(demo_server, {"image": image, "png": ["?"]})
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "png", 0])


def test_many_pictures_are_asked_about_over_one_call(
    demo_server: Server, picture: bytes, found: Objects
) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        answers = dict(
            client.stream_describe_objects(
                [("good", picture), ("bad", b"no picture")], boxes=[[5, 5, 60, 70]]
            )
        )
    assert isinstance(answers["bad"], InvalidRequest)
    assert isinstance(answers["good"], Objects)
    assert answers["good"][0].area == 55 * 65


def test_a_contradiction_is_told_before_anything_is_asked(demo_server: Server, picture: bytes) -> None:
    with (
        FeatsvcClient(demo_server.target, api_key=KEY) as client,
        pytest.raises(InvalidRequest, match="give prompts, boxes or masks: one of these"),
    ):
        client.describe_objects(picture, boxes=[[1, 1, 5, 5]], prompts=[{"box": [1, 1, 5, 5]}])


def test_a_text_finds_its_object_over_both_transports(
    demo_server: Server, scene: Scene, picture: bytes
) -> None:
    target = scene.objects[0]
    text = f"a {target.colour} {target.shape}"
    options: Any = {
        "points_per_side": 10,
        "mask_encoding": "coco_rle",
        "describe": [{"clip": {}, "crop": CROP}],
    }
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        found = client.find_objects(picture, [text, "a tree"], **options, min_score=-1)
        again = dict(client.stream_find_objects([("one", picture)], text, **options, min_score=-1))["one"]
    best = found.best()
    assert best is not None
    assert isinstance(again, FoundObjects)
    assert again.found[0][0].score == pytest.approx(found.found[0][0].score, abs=1e-5)
    body = {"image": base64.b64encode(picture).decode(), "text": [text, "a tree"], "min_score": -1, **options}
    reply = httpx.post(
        f"{demo_server.url('sam2')}/find_objects",
        json=body,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=120,
    ).json()
    assert [[each["object"] for each in own["matches"]] for own in reply["found"]] == [
        [each.object for each in own] for own in found.found
    ]
    assert (
        found.descriptor_models
        == again.descriptor_models
        == tuple(reply["descriptor_models"])
        == ("demo-clip",)
    )


SEARCHES: list[Any] = [
    {"points_per_side": 6, "describe": [{"clip": {}, "crop": CROP}]},
    {"search": "peaks", "describe": [{"clip": {"params": {"load_size": 96}}, "pooled": {}}]},
]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_stream_finds_the_bytes_that_a_call_finds_alone(
    demo_server: Server, picture: bytes, other_picture: bytes, search: Any
) -> None:
    texts = ["a red circle", "a tree"]
    questions = [("one", picture), ("other", other_picture), ("bad", b"no picture"), ("again", picture)]
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        answers = dict(client.stream_find_objects(questions, texts, **search, min_score=-1))
        alone = [
            client.find_objects(each, texts, **search, min_score=-1) for each in (picture, other_picture)
        ]
    assert isinstance(answers["bad"], InvalidRequest)
    for name, own in zip(("one", "again", "other"), (alone[0], *alone), strict=True):
        beside = answers[name]
        assert isinstance(beside, FoundObjects)
        assert beside.masks.tobytes() == own.masks.tobytes()
        assert [list(each) for each in beside.found] == [list(each) for each in own.found]


def test_a_stream_describes_with_the_bytes_of_a_call_alone(
    demo_server: Server, picture: bytes, other_picture: bytes, found: Objects
) -> None:
    questions = [("other", other_picture), ("one", picture)]
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        beside = dict(client.stream_describe_objects(questions, **FEW))["one"]
    assert isinstance(beside, Objects)
    assert beside.masks.tobytes() == found.masks.tobytes()
    for one, other in zip(beside.descriptors, found.descriptors, strict=True):
        assert one.array.tobytes() == other.array.tobytes()


def test_an_object_is_found_again_in_another_picture(demo_server: Server, picture: bytes) -> None:
    way: Any = [{"dino": {}, "crop": {}}]
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        known = client.describe_objects(picture, boxes=[[5, 5, 60, 70], [100, 20, 200, 90]], describe=way)
        found = client.find_objects(
            picture,
            vectors=known.descriptors[0].array[1],
            boxes=[[100, 20, 200, 90], [3, 3, 20, 30]],
            describe=way,
            max_matches=1,
        )
    assert found.found[0][0].score == pytest.approx(1, abs=1e-5)
    assert found[0].bbox[:2] == (100, 20)


def test_an_exemplar_is_described_and_looked_for_by_one_call(
    demo_server: Server, scene: Scene, picture: bytes
) -> None:
    ways: Any = [{"clip": {}, "crop": CROP}, {"dino": {}, "pooled": {}}]
    options: Any = {"points_per_side": 10, "describe": ways, "max_matches": 1}
    mask = scene.masks[0, :192]
    masked = Exemplar(picture, masks=mask)
    with FeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
        known = client.describe_objects(picture, bitmaps=mask[None], describe=ways)
        rows = np.concatenate([each.array for each in known.descriptors], axis=1)
        plain = client.find_objects(picture, vectors=rows, **options)
        found = client.find_objects(picture, exemplar=masked, **options)
        ((_, beside),) = client.stream_find_objects([picture], exemplar=masked, **options)
        below, columns = np.nonzero(mask)
        box = [columns.min(), below.min(), columns.max() + 1, below.max() + 1]
        boxed = client.find_objects(picture, exemplar=Exemplar(picture, boxes=[box]), **options)
    assert isinstance(beside, FoundObjects)
    for each in (found, beside):
        assert each.found[0][0].score == pytest.approx(plain.found[0][0].score, abs=1e-5)
    for each in (found, boxed):
        best = each.best()
        assert best is not None
        assert _iou(best.segmentation, mask) > 0.5

    async def asked() -> list[Any]:
        async with AsyncFeatsvcClient(demo_server.target, api_key=KEY, timeout=120) as client:
            one = await client.find_objects(picture, exemplar=masked, **options)
            return [
                one,
                *[
                    each
                    async for _, each in client.stream_find_objects([picture], exemplar=masked, **options)
                ],
            ]

    for each in asyncio.run(asked()):
        assert each.found[0][0].score == pytest.approx(plain.found[0][0].score, abs=1e-5)


def _iou(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(
    ("more", "rows", "field", "message"),
    [
        ({"negative_text": ["a tree"]}, np.ones((1, 128)), "negative_text", "is what a text is not"),
        ({"templates": ["a photo of {}"]}, np.ones((1, 128)), "templates", "is about texts"),
        ({}, np.eye(2, 128, 1) * [[1], [0]], "vectors", "row 1 is 0 for way 0"),
    ],
)
def test_vectors_that_say_nothing_are_told_over_rest_by_their_field(
    demo_server: Server, picture: bytes, more: Any, rows: Any, field: str, message: str
) -> None:
    encoded = {
        "vectors": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
        "vectors_shape": rows.shape,
    }
    image = base64.b64encode(picture).decode()
    reply = httpx.post(
        f"{demo_server.url('sam2')}/find_objects",
        json={
            "image": image,
            **encoded,
            "boxes": [[5, 5, 60, 70]],
            "describe": [{"clip": {}, "crop": {}}],
            **more,
        },
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=120,
    )
    assert reply.status_code == 422, reply.text
    (told,) = reply.json()["detail"]
    assert told["loc"] == ["body", field]
    assert message in told["msg"]


def test_several_ways_over_rest_are_each_as_alone_and_looked_for_side_by_side(
    demo_server: Server, picture: bytes
) -> None:
    proxied = {"load_size": 98, "dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
    ways: Any = [
        {"dino": {"params": {"load_size": 98}}, "pooled": {}},
        {"clip": {"params": proxied}, "pooled": {"pooling": "max"}},
        {"clip": {}, "crop": CROP},
    ]
    body = {
        "image": base64.b64encode(picture).decode(),
        "boxes": [[5, 5, 60, 70], [100, 20, 200, 90]],
        "mask_encoding": "coco_rle",
    }

    def described(*some: Any) -> list[np.ndarray]:
        """The vectors of both objects by each of some ways."""
        reply = posted(demo_server, {**body, "describe": some})
        assert reply.status_code == 200, reply.text
        sent = reply.json()["descriptors"]
        assert [each["model"] for each in sent] == [f"demo-{min(each)}" for each in some]
        return [
            np.frombuffer(base64.b64decode(each["vectors"]), "<f4").reshape(each["shape"]) for each in sent
        ]

    together = described(*ways)
    for way, vectors in zip(ways, together, strict=True):
        np.testing.assert_array_equal(vectors, described(way)[0])
    first = np.concatenate([each[:1] for each in together], axis=1)
    query = {"vectors": base64.b64encode(first.tobytes()).decode(), "vectors_shape": first.shape}
    sought = {**body, **query, "describe": ways, "min_score": -1}
    reply = posted(demo_server, sought, "find_objects").json()
    assert reply.get("descriptor_models") == ["demo-dino", "demo-clip", "demo-clip"], reply
    wanted = np.mean([each @ each[0] for each in together], axis=0)
    (found,) = reply["found"]
    assert [each["object"] for each in found["matches"]] == [0, 1]
    np.testing.assert_allclose([each["score"] for each in found["matches"]], wanted, atol=1e-5)
