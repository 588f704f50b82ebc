"""Exemplars in both clients: what is refused before anything is asked, and what is asked then, and when."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import numpy as np
import pytest
from featsvc_client import AsyncFeatsvcClient, Exemplar, FeatsvcClient, InvalidRequest, Unavailable, session
from featsvc_client.retry import Attempts

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import objects_pb2
from tests.client.conftest import Ask
from tests.client.gateway import answering
from tests.client.streaming import Streamed

PICTURE, OTHER = b"a picture", b"another picture"
BOX = [0, 0, 1, 1]
BOXED = Exemplar(PICTURE, [BOX])
NOWHERE = "127.0.0.1:1"
OWN_CROP = [{"clip": {}, "crop": {}}]
SEEN = np.array([[1, 0], [0, 1]], np.float32)


def vectors(rows: np.ndarray = SEEN) -> Any:
    """Answers with these vectors of two ways, of which the second is the first backwards."""

    def answer(request: Any) -> Any:
        if isinstance(request, objects_pb2.FindObjectsRequest):
            return objects_pb2.FindObjectsResponse()
        each = [
            objects_pb2.ObjectVectors(vectors=to_tensor(way.astype(np.float32)))
            for way in (rows, rows[:, ::-1])
        ]
        return objects_pb2.DescribeObjectsResponse(descriptors=each)

    return answer


@pytest.mark.parametrize(
    ("exemplar", "options", "field", "message"),
    [
        (Exemplar(PICTURE), {}, "exemplar", "give boxes or masks of its objects: one of the two"),
        (Exemplar(PICTURE, [BOX], np.ones((2, 2))), {}, "exemplar", "give boxes or masks"),
        (Exemplar(PICTURE, [BOX, [1, 2, 3]]), {}, "exemplar.boxes[1]", "must be four numbers, .* not 3"),
        (Exemplar(PICTURE, [1, 2, 3]), {}, "exemplar.boxes[0]", "must be four numbers, .* not 3"),
        (Exemplar(PICTURE, ["left"]), {}, "exemplar.boxes[0]", "must be an array of booleans or numbers"),
        (Exemplar(PICTURE, masks=np.ones((0, 4, 5))), {}, "exemplar.masks", "must be masks.* not 0 x 4 x 5"),
        (Exemplar(PICTURE, masks=np.ones(5)), {}, "exemplar.masks", "must be masks.* not 5"),
        (
            Exemplar(PICTURE, masks=np.arange(2)[:, None, None]),
            {},
            "exemplar.masks[0]",
            "has no pixel inside",
        ),
        (BOXED, {"vectors": [[1.0]]}, "exemplar", "give an exemplar or vectors: one of the two"),
        (BOXED, {"text": "a tree"}, "exemplar", "give an exemplar or text: one of the two"),
        (BOXED, {"negative_text": "a tree"}, "exemplar", "give an exemplar or negative_text"),
        (BOXED, {"templates": ["a photo of {}"]}, "templates", "is about texts: leave it out"),
        (BOXED, {"relevancy_scale": 5}, "relevancy_scale", "is about texts"),
        (BOXED, {"max_matches": 0}, "params.max_matches", "must be at least 1"),
        (BOXED, {"recipe": "conceptfusion"}, "exemplar", 'way 0 .* "with_picture": false in the crop'),
        (BOXED, {"recipe": "hovsg", "describe": OWN_CROP}, "exemplar", "way 0 to describe is with_picture"),
        (
            BOXED,
            {"describe": [*OWN_CROP, {"dino": {}, "crop": {"with_picture": True}}]},
            "exemplar",
            "way 1 to describe is with_picture",
        ),
    ],
)
def test_what_cannot_be_looked_for_is_refused_at_once(
    exemplar: Exemplar, options: dict[str, Any], field: str, message: str, asked: Ask
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        asked(NOWHERE, "find_objects", OTHER, exemplar=exemplar, **options)
    assert [each.field.replace("find.", "params.") for each in caught.value.violations] == [field]
    # A stream too, when it is called.
    with FeatsvcClient(NOWHERE) as client, pytest.raises(InvalidRequest, match=message):
        client.stream_find_objects([OTHER], exemplar=exemplar, **options)

    async def awaited() -> None:
        async with AsyncFeatsvcClient(NOWHERE) as client:
            client.stream_find_objects([OTHER], exemplar=exemplar, **options)

    with pytest.raises(InvalidRequest, match=message):
        asyncio.run(awaited())


def test_texts_by_position_beside_an_exemplar_are_refused(asked: Ask) -> None:
    with pytest.raises(InvalidRequest, match="give an exemplar or text"):
        asked(NOWHERE, "find_objects", OTHER, "a tree", exemplar=BOXED)


def test_a_server_that_is_away_is_told_as_of_any_call(asked: Ask) -> None:
    with pytest.raises(Unavailable):
        asked(NOWHERE, "find_objects", OTHER, exemplar=BOXED)


def test_an_estimate_wants_vectors() -> None:
    with (
        FeatsvcClient(NOWHERE) as client,
        pytest.raises(InvalidRequest, match="estimate with vectors in its place"),
    ):
        client.estimate(client.find_objects, OTHER, exemplar=BOXED)


NO_PICTURE_MIXED = {"clip": {}, "crop": {"with_picture": False}}


@pytest.mark.parametrize(
    ("exemplar", "options"),
    [
        (Exemplar(PICTURE, [BOX, BOX]), {"vectors": None, "text": None}),
        (Exemplar(PICTURE, np.array([BOX, BOX])), {"recipe": "openmask3d"}),
        (
            Exemplar(PICTURE, masks=np.ones((2, 4, 5), np.uint8)),
            {"recipe": "hovsg", "describe": [NO_PICTURE_MIXED]},
        ),
    ],
)
def test_an_exemplar_is_asked_about_and_its_vectors_are_looked_for(
    exemplar: Exemplar, options: dict[str, Any], asked: Ask, streamed: Streamed
) -> None:
    with answering(vectors()) as script:
        asked(script.target, "find_objects", OTHER, exemplar=exemplar, **options)
        streamed(script.target, "stream_find_objects", [OTHER, OTHER], exemplar=exemplar, **options)
    assert script.paths == ["DescribeObjects", "FindObjects", "DescribeObjects", *["FindObjectsStream"] * 2]
    first, then, *_, last = script.requests
    source = first.source
    assert len(source.prompts) == 2 or list(source.bitmaps.shape) == [2, 4, 5]
    assert first.image.content == PICTURE
    for each in (then, last.request):
        assert each.image.content == OTHER
        assert not each.HasField("source")
        rows = np.frombuffer(each.query.vectors.data, "<f4").reshape(each.query.vectors.shape)
        np.testing.assert_array_equal(rows, [[1, 0, 0, 1], [0, 1, 1, 0]])


def test_a_box_may_stand_by_itself(asked: Ask) -> None:
    with answering(vectors(SEEN[:1])) as script:
        asked(script.target, "find_objects", OTHER, exemplar=Exemplar(PICTURE, BOX))
    assert [each.box.x1 for each in script.requests[0].source.prompts] == [1]


def test_an_object_without_a_vector_is_named_and_not_looked_for(asked: Ask, streamed: Streamed) -> None:
    with answering(vectors(SEEN * [[1], [0]])) as script:
        for exemplar, name in (
            (Exemplar(PICTURE, [BOX, BOX]), "exemplar.boxes[1]"),
            (Exemplar(PICTURE, masks=np.ones((2, 3, 4))), "exemplar.masks[1]"),
        ):
            for call in (
                partial(asked, script.target, "find_objects", OTHER),
                partial(streamed, script.target, "stream_find_objects", [OTHER]),
            ):
                with pytest.raises(
                    InvalidRequest, match="has no part in what way 0 to describe sees"
                ) as caught:
                    call(exemplar=exemplar)
                assert [each.field for each in caught.value.violations] == [name]
    assert set(script.paths) == {"DescribeObjects"}


def test_both_calls_are_within_one_time(asked: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(session, "Attempts", partial(Attempts, clock=lambda: now[0]))

    def answer(request: Any) -> Any:
        now[0] += 60
        return vectors()(request)

    with answering(answer) as script:
        asked(script.target, "find_objects", OTHER, exemplar=Exemplar(PICTURE, [BOX, BOX]), timeout=100)
        asked(
            script.target,
            "find_objects",
            OTHER,
            exemplar=Exemplar(PICTURE, [BOX, BOX]),
            client={"timeout": 100},
        )
    for first, then in (script.time_left_s[:2], script.time_left_s[2:]):
        # Of 100 s; gRPC rounds what is left up to a second or so.
        assert first > 60
        assert 0 < then < 60


def test_a_stream_asks_when_its_first_answer_is_wanted() -> None:
    exemplar = Exemplar(PICTURE, [BOX, BOX])

    async def awaited(target: str) -> list[str]:
        async with AsyncFeatsvcClient(target) as client:
            answers = client.stream_find_objects([OTHER], exemplar=exemplar)
            before = list(script.paths)
            async for _ in answers:
                pass
            return before

    with answering(vectors()) as script:
        with FeatsvcClient(script.target) as client:
            answers = client.stream_find_objects([OTHER], exemplar=exemplar)
            assert script.paths == []
            assert len(list(answers)) == 1
        assert asyncio.run(awaited(script.target)) == ["DescribeObjects", "FindObjectsStream"]
    assert len(script.paths) == 4
