"""A request that is wrong in a million places costs as little as one that is wrong in one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from featsvc.codec.wire import PARAM
from featsvc.fields.base import MOST_TOLD
from featsvc.twin import from_message, messages, violations
from featsvc.v1 import clip_pb2, sam2_pb2, schema

MILLION = 1_000_000


def mistakes(twin: type, **fields: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        twin(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("twin", "fields", "field", "most"),
    [
        (schema.Prompt, {"point_labels": [7] * MILLION}, "point_labels", 1024),
        (schema.Prompt, {"point_coords": [None] * MILLION}, "point_coords", 1024),
        (schema.Prompt, {"box": [1] * MILLION}, "box", 4),
        (schema.Prompt, {"box": dict.fromkeys(map(str, range(MILLION)), 1)}, "box", 4),
        (schema.Prompt, {"point_coords": [["x"] * MILLION]}, "point_coords[0]", 2),
        (schema.Texts, {"text": [5] * MILLION}, "text", 1024),
        (schema.GenerateMasksParams, {"point_grids": [[1] * MILLION]}, "point_grids[0]", 65536),
    ],
)
def test_items_are_counted_before_they_are_looked_at(
    twin: type, fields: dict[str, object], field: str, most: int
) -> None:
    error = mistakes(twin, **fields)
    assert error.error_count() == 1
    assert [(each.field, each.message) for each in violations(error)] == [
        (field, f"{MILLION} items, at most {most} are taken")
    ]


def test_the_first_mistakes_of_a_list_are_told_and_that_there_are_more() -> None:
    wrong = {5, 11, *range(20, 1000)}
    labels = [7 if place in wrong else 1 for place in range(1000)]
    error = mistakes(schema.Prompt, point_coords=[(1, 1)] * 1000, point_labels=labels)
    assert error.error_count() == MOST_TOLD + 1
    told = violations(error)
    assert [each.field for each in told] == [
        f"point_labels[{place}]" for place in (5, 11, 20, 21, 22, 23, 24, 25)
    ]
    assert told[-1].message.endswith("(and at least 1 more)")
    assert not any("more" in each.message for each in told[:-1])


def test_both_numbers_of_a_bad_point_are_named_and_later_points_too() -> None:
    error = mistakes(schema.ClipExtractFeaturesParams, points=[(1, 1), ("x", "y"), (2, 2), (-1, 3)])
    assert [each.field for each in violations(error)] == ["points[1][0]", "points[1][1]", "points[3][0]"]


def test_every_prompt_of_many_may_be_wrong_in_every_label() -> None:
    prompts = [{"point_coords": [(1, 1)] * 1024, "point_labels": [7] * 1024}] * 256
    error = mistakes(schema.PredictMasksRequest, image={"content": b"x"}, prompts=prompts)
    assert error.error_count() <= 2 * MOST_TOLD
    assert len(violations(error)) == MOST_TOLD


def test_a_message_of_too_many_items_is_refused_without_making_them(monkeypatch: pytest.MonkeyPatch) -> None:
    request = sam2_pb2.PredictMasksRequest()
    request.image.content = b"x"
    # Empty points take two bytes each.
    request.prompts.add().ParseFromString(b"\x0a\x00" * 100_000)
    request.prompts.add().point_labels.extend([7] * MILLION)
    made: list[object] = []
    single = messages._single
    monkeypatch.setattr(
        messages, "_single", lambda value, field: [made.append(value), single(value, field)][1]
    )
    with pytest.raises(ValidationError) as caught:
        from_message(request, schema.PredictMasksRequest)
    assert [(each.field, each.message) for each in violations(caught.value)] == [
        ("prompts[0].point_coords", "100000 items, at most 1024 are taken"),
        ("prompts[1].point_labels", "1000000 items, at most 1024 are taken"),
    ]
    assert len(made) < 10


def test_every_list_of_a_request_says_how_many_items_it_takes() -> None:
    """What has no limit would be unpacked whole before anybody looks at it."""
    unbounded = {
        f"{message.name}.{field.name}"
        for file in (clip_pb2, sam2_pb2)
        for message in file.DESCRIPTOR.message_types_by_name.values()
        if hasattr(schema, message.name) and isinstance(getattr(schema, message.name), type)
        for field in message.fields
        if field.is_repeated and not field.GetOptions().Extensions[PARAM].max_items
    }
    assert unbounded == set()


@pytest.mark.parametrize(
    ("params", "field", "said"),
    [
        ({"describe": [{"dtype": "int8"}]}, "params.describe[0].dtype", "known here; known are clip, dino, "),
        ({"describe": [{"corp": {}}]}, "params.describe[0].corp", "did you mean crop?"),
        ({"txet": "a"}, "params.txet", "did you mean text?"),
        ({"text": "a"}, "params.text", "known here; known are "),
    ],
    ids=str,
)  # fmt: skip
def test_an_unknown_name_is_told_beside_those_of_its_place(
    params: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        schema.FindObjectsRequest.model_validate(
            {"image": {"content": b"x"}, "query": {"text": ["a"]}, "params": params}
        )
    (told,) = violations(caught.value, schema.FindObjectsRequest)
    assert said in told.message
    assert told.field.endswith(field.removeprefix("params"))
