"""Many questions over one stream, with both clients: names, order, errors, refusals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client import errors
from featsvc_client.pictures import Picture

from featsvc.codec.arrays import to_bits, to_tensor
from featsvc.v1 import clip_pb2, sam2_pb2, stream_pb2
from tests.client.conftest import QUICK
from tests.client.gateway import answering
from tests.client.streaming import Streamed, echo, picture, told


def test_each_picture_has_its_answer_under_its_number(streamed: Streamed) -> None:
    with answering(echo) as script:
        found = streamed(script.target, "stream_clip_features", map(picture, range(50)), load_size=None)
    assert told(found) == {number: number for number in range(50)}
    assert set(script.paths) == {"ExtractFeaturesStream"}
    assert {each.request.params.load_size for each in script.requests} == {-1}
    assert len({each.request_id for each in script.requests}) == 50
    assert script.metadata[0]["authorization"] == "Bearer smfeats"


def test_answers_have_the_names_of_their_pictures(streamed: Streamed) -> None:
    with answering(echo) as script:
        found = streamed(script.target, "stream_clip_features", [("a", picture(5)), ("b", picture(6))])
    assert told(found) == {"a": 5, "b": 6}


def test_no_pictures_have_no_answers(streamed: Streamed) -> None:
    with answering(echo) as script:
        assert streamed(script.target, "stream_clip_features", []) == []


def test_a_bad_picture_is_an_error_in_its_place_only(streamed: Streamed, tmp_path: Path) -> None:
    def judged(request: Any) -> Any:
        if request.image.content[0] != 3:
            return echo(request)
        violation = stream_pb2.FieldViolation(field="image", description="is damaged")
        return stream_pb2.ItemError(code="INVALID_ARGUMENT", message="bad", field_violations=[violation])

    images = [picture(1), tmp_path / "missing.png", picture(3), 7, picture(5)]
    with answering(judged) as script:
        found = dict(streamed(script.target, "stream_clip_features", images))
    invalid = errors.InvalidRequest
    assert told(found.items()) == {0: 1, 1: invalid, 2: invalid, 3: invalid, 4: 5}
    assert str(found[1]) == "image: cannot be read: No such file or directory"
    assert found[2].violations == (errors.FieldViolation("image", "is damaged"),)
    assert len(script.requests) == 3


def test_wrong_options_are_raised_before_anything_is_sent(streamed: Streamed) -> None:
    with answering(echo) as script:
        with pytest.raises(errors.InvalidRequest, match="load_size"):
            streamed(script.target, "stream_clip_features", [picture(1)], load_size=0)
        with pytest.raises(errors.InvalidRequest, match="window"):
            streamed(script.target, "stream_clip_features", [picture(1)], window=0)
    assert script.requests == []


def test_what_is_refused_for_now_is_asked_again_until_it_is_answered(streamed: Streamed) -> None:
    times: dict[int, int] = {}

    def busy(request: Any) -> Any:
        number = request.image.content[0]
        times[number] = times.get(number, 0) + 1
        if times[number] <= 3 * QUICK.attempts and number % 2:
            return stream_pb2.ItemError(code="RESOURCE_EXHAUSTED", message="full", retry_after_ms=1)
        return echo(request)

    with answering(busy) as script:
        found = streamed(script.target, "stream_clip_features", map(picture, range(6)))
    assert told(found) == {number: number for number in range(6)}
    assert times == {number: 1 + 3 * QUICK.attempts * (number % 2) for number in range(6)}


@pytest.mark.parametrize(
    ("error", "kind", "times"),
    [
        ({"code": "RESOURCE_EXHAUSTED"}, errors.ReplyTooLarge, 1),
        ({"code": "RESOURCE_EXHAUSTED", "reason": "request-too-large"}, errors.RequestTooLarge, 1),
        ({"code": "UNAVAILABLE"}, errors.Unavailable, QUICK.attempts),
        ({"code": "UNAVAILABLE", "reason": "killed-workers"}, errors.Unavailable, 1),
        ({"code": "UNAVAILABLE", "reason": "killed-workers", "retry_after_ms": 1}, errors.Unavailable, 1),
        ({"code": "FAILED_PRECONDITION"}, errors.WeightsMissing, 1),
        ({"code": "RESOURCE_EXHAUSTED", "retry_after_ms": 60_000}, errors.Overloaded, 1),
    ],
)
def test_what_no_further_try_will_mend_is_the_answer(
    streamed: Streamed, error: dict[str, Any], kind: type[Exception], times: int
) -> None:
    with answering(stream_pb2.ItemError(message="no", **error)) as script:
        found = streamed(script.target, "stream_clip_features", [picture(1)], timeout=10)
    assert told(found) == {0: kind}
    assert len(script.requests) == times


def test_no_more_than_the_window_is_under_way(streamed: Streamed) -> None:
    drawn: list[int] = []
    gate = threading.Event()

    def images() -> Iterator[bytes]:
        for number in range(9):
            drawn.append(number)
            if number == 3:
                gate.set()
            yield picture(number)

    ahead: list[int] = []

    def slow(request: Any) -> Any:
        assert gate.wait(30)
        ahead.append(len(drawn) - len(ahead))
        return echo(request)

    with answering(slow) as script:
        assert len(streamed(script.target, "stream_clip_features", images(), window=4)) == 9
    assert max(ahead) <= 5  # one more is drawn than is sent


def test_prompts_are_those_of_the_picture_or_of_all(streamed: Streamed) -> None:
    result = sam2_pb2.PromptMasks(
        masks=to_bits(np.eye(4, dtype=bool)[None]), iou_predictions=to_tensor(np.ones(1, np.float32))
    )
    images = [picture(1), ("own", picture(2), [{"box": [0, 0, 1, 1]}, {"box": [0, 0, 2, 2]}])]
    with answering(sam2_pb2.PredictMasksResponse(results=[result])) as script:
        found = dict(
            streamed(
                script.target, "stream_predict_masks", images, [{"box": [0, 0, 9, 9]}], multimask_output=False
            )
        )
    np.testing.assert_array_equal(found["own"][0].masks[0], np.eye(4, dtype=bool))
    corners = {
        each.request.image.content[0]: [b.box.x1 for b in each.request.prompts] for each in script.requests
    }
    assert corners == {1: [9], 2: [1, 2]}


def test_a_picture_that_the_server_has_goes_as_its_name_and_again_as_file_when_gone(
    streamed: Streamed,
) -> None:
    image = bytes(70_000)
    sources: list[str] = []

    def forgetful(request: Any) -> Any:
        sources.append(request.image.WhichOneof("source"))
        if sources == ["content", "digest"]:
            gone = stream_pb2.FieldViolation(field="image.digest", description="gone")
            return stream_pb2.ItemError(code="NOT_FOUND", message="gone", field_violations=[gone])
        return clip_pb2.ClipServiceExtractFeaturesResponse(
            features=to_tensor(np.zeros((1, 1, 1), np.float32)), image_digest=Picture(image).digest
        )

    with answering(forgetful) as script:
        assert len(streamed(script.target, "stream_clip_features", [image] * 3, window=1)) == 3
    assert sources == ["content", "digest", "content", "digest"]
