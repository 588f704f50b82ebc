"""Messages and their pydantic twins say the same."""

from __future__ import annotations

import math
import re

import pytest
from google.protobuf.message import Message as ProtoMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from featsvc.twin import from_message, to_message, violations
from featsvc.twin.messages import words
from featsvc.v1 import (
    clip_pb2,
    dino_pb2,
    features_pb2,
    image_pb2,
    objects_pb2,
    options_pb2,
    sam2_pb2,
    schema,
    tensor_pb2,
)

FILES = (image_pb2, tensor_pb2, features_pb2, clip_pb2, dino_pb2, sam2_pb2, objects_pb2)
PARAMETERS = {
    name: (getattr(file, name), getattr(schema, name))
    for file in FILES
    for name, message in file.DESCRIPTOR.message_types_by_name.items()
    if message.GetOptions().Extensions[options_pb2.parameters]
}
EVERY_PARAMETER = [
    pytest.param(message, twin, field, id=f"{name}.{field.name}")
    for name, (message, twin) in PARAMETERS.items()
    for field in message.DESCRIPTOR.fields
]


def param(field: object) -> options_pb2.Param:
    return field.GetOptions().Extensions[options_pb2.param]


def legal_values(field: object) -> st.SearchStrategy[object]:
    """Values that the proto line itself allows."""
    limits = param(field)
    if field.enum_type is not None:
        return st.sampled_from(sorted(words(field.enum_type)))
    if field.cpp_type == field.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == field.CPPTYPE_STRING:
        return st.text(max_size=limits.max_length, alphabet=st.characters(codec="utf-8"))
    low = limits.min if limits.HasField("min") else None
    high = limits.max if limits.HasField("max") else None
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    return st.integers(int(low), int(high))


def put(made: ProtoMessage, field: object, value: object) -> None:
    """Gives a field this value, or a list of it."""
    if field.is_repeated:
        getattr(made, field.name).append(value)
    else:
        setattr(made, field.name, value)


@st.composite
def messages(draw: st.DrawFn, message: type[ProtoMessage]) -> ProtoMessage:
    """A message with some of its scalar parameters given."""
    made = message()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None and draw(st.booleans()):
            put(made, field, draw(legal_values(field)))
    return made


@pytest.mark.parametrize(("message", "twin"), PARAMETERS.values(), ids=PARAMETERS)
# A busy machine draws slowly.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.data())
def test_a_round_trip_keeps_values_and_presence(
    message: type[ProtoMessage], twin: type[BaseModel], drawn: st.DataObject
) -> None:
    sent = drawn.draw(messages(message))
    try:
        read = from_message(sent, twin)
    except ValidationError as error:
        # Legal alone, contradictory together: only a rule of the message may object.
        if any(each["type"] != "rule" for each in error.errors()):
            raise
        return
    assert to_message(read, message) == sent
    assert read.model_fields_set == {field.name for field, _ in sent.ListFields()} | {
        field.name for field in message.DESCRIPTOR.fields if field.has_presence and sent.HasField(field.name)
    }


@pytest.mark.parametrize(("message", "twin", "field"), EVERY_PARAMETER)
def test_zero_and_false_are_kept_apart_from_absent(
    message: type[ProtoMessage], twin: type[BaseModel], field: object
) -> None:
    if field.is_repeated:
        assert from_message(message(), twin).model_fields_set == set()
        return
    assert field.has_presence, "a parameter without `optional` cannot say that it was not given"
    assert field.name not in from_message(message(), twin).model_fields_set


@pytest.mark.parametrize(("message", "twin", "field"), EVERY_PARAMETER)
def test_a_value_beyond_its_limit_names_the_field(
    message: type[ProtoMessage], twin: type[BaseModel], field: object
) -> None:
    limits = param(field)
    bad: list[object] = []
    if limits.HasField("max") and not field.is_repeated:
        bad += [limits.max + 1, limits.min - 1]
    if limits.HasField("max_length"):
        bad.append("x" * (limits.max_length + 1))
    if field.enum_type is not None:
        bad.append(99)
    if field.cpp_type == field.CPPTYPE_DOUBLE and not field.is_repeated:
        bad += [math.nan, math.inf]
    for value in bad:
        made = message()
        put(made, field, int(value) if field.cpp_type == field.CPPTYPE_INT32 else value)
        with pytest.raises(ValidationError) as caught:
            from_message(made, twin)
        name = f"{field.name}[0]" if field.is_repeated else field.name
        assert [each.field for each in violations(caught.value)] == [name]
    assert bad or field.cpp_type in (field.CPPTYPE_BOOL, field.CPPTYPE_MESSAGE) or field.is_repeated


@pytest.mark.parametrize(
    ("message", "twin", "field"),
    [each for each in EVERY_PARAMETER if each.values[2].message_type and not each.values[2].is_repeated],
)
def test_a_part_beyond_its_limit_names_the_field_that_holds_it(
    message: type[ProtoMessage], twin: type[BaseModel], field: object
) -> None:
    for part in field.message_type.fields:
        made, limits = message(), param(part)
        for _ in range(limits.max_items + 1):
            beyond = limits.max + 1
            put(
                getattr(made, field.name),
                part,
                int(beyond) if part.cpp_type == part.CPPTYPE_INT32 else beyond,
            )
        with pytest.raises(ValidationError) as caught:
            from_message(made, twin)
        assert {re.split(r"[.\[]", each.field)[0] for each in violations(caught.value)} == {field.name}


@pytest.mark.parametrize(("message", "twin", "field"), EVERY_PARAMETER)
def test_a_default_lies_within_its_own_limits(
    message: type[ProtoMessage], twin: type[BaseModel], field: object
) -> None:
    default = getattr(twin(), field.name)
    if default in (None, ()):
        assert not param(field).default
        return
    made = message()
    setattr(made, field.name, words_number(field, default))
    assert getattr(from_message(made, twin), field.name) == default


def words_number(field: object, value: object) -> object:
    if field.enum_type is None:
        return value
    return {word: number for number, word in words(field.enum_type).items()}[str(value)]


def test_null_and_absent_load_size_differ() -> None:
    assert schema.ClipExtractFeaturesParams().load_size == 1024
    assert schema.ClipExtractFeaturesParams(load_size=None).load_size == -1
    null = schema.ClipExtractFeaturesParams(load_size=None)
    assert to_message(null, clip_pb2.ClipServiceExtractFeaturesRequest).params.load_size == -1


def test_nested_messages_survive_the_round_trip() -> None:
    prompt = schema.Prompt(
        point_coords=[[0, 0], [5.5, 7]],
        point_labels=[1, 0],
        box=[0, 0, 3, 4],
        mask_input=schema.Tensor(shape=[1, 1, 1], data=b"\0\0\0\0"),
    )
    message = to_message(prompt, sam2_pb2.Prompt)
    assert [(point.x, point.y) for point in message.point_coords] == [(0, 0), (5.5, 7)]
    assert from_message(message, schema.Prompt) == prompt
    grids = schema.AutomaticMaskParams(point_grids=[[[0.25, 0.5]], [[0.5, 0.5], [0, 0]]], crop_n_layers=1)
    assert from_message(to_message(grids, sam2_pb2.AutomaticMaskParams), schema.AutomaticMaskParams) == grids


@pytest.mark.parametrize(
    ("twin", "values", "field"),
    [
        (schema.ClipExtractFeaturesParams, {"load_size": 0}, "load_size"),
        (schema.ClipExtractFeaturesParams, {"center_crop": True, "load_size": -1}, "center_crop"),
        (schema.ClipExtractFeaturesParams, {"pca_q_min": 0.9, "pca_q_max": 0.1}, "pca_q_max"),
        (schema.DinoExtractFeaturesParams, {"load_size": 0}, "load_size"),
        (schema.DinoExtractFeaturesParams, {"pca_q_min": 0.5, "pca_q_max": 0.5}, "pca_q_max"),
        (schema.ComputeSimilarityParams, {"ret_pca": True}, "ret_pca"),
        (schema.ComputeSimilarityParams, {"load_size": 0}, "load_size"),
        (schema.ComputeSimilarityParams, {"center_crop": True, "load_size": None}, "center_crop"),
        (schema.GenerateMasksParams, {"point_grids": [[[0, 0]], [[1, 1]]]}, "point_grids"),
        (schema.Prompt, {"point_coords": [[1, 1]]}, "point_labels"),
        (schema.Prompt, {"point_labels": [1]}, "point_labels"),
        (schema.Prompt, {"box": [4, 0, 3, 4]}, "box"),
        (schema.Texts, {"text": []}, "text"),
        (schema.Texts, {}, "text"),
        (schema.Image, {}, ""),
        (schema.Image, {"content": b"x", "url": "http://x"}, ""),
        (schema.Prompt, {"unheard_of": 1}, "unheard_of"),
    ],
)
def test_contradictions_are_told_by_field(
    twin: type[BaseModel], values: dict[str, object], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        twin(**values)
    assert [each.field for each in violations(caught.value)] == [field]


def test_an_error_never_holds_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        schema.Texts(text=["secret-" * 1000])
    assert "secret" not in repr(violations(caught.value)) + str(caught.value)


def test_every_class_has_a_json_schema_and_lists_that_may_be_one_say_so() -> None:
    for name in ("TextQuery", "Texts", "Prompt", "GenerateMasksParams", "ClipExtractFeaturesParams", "Image"):
        getattr(schema, name).model_json_schema()
    properties = schema.TextQuery.model_json_schema()["properties"]
    assert [choice["type"] for choice in properties["negative_text"]["anyOf"]] == ["string", "array", "null"]
    assert [choice["type"] for choice in properties["text"]["anyOf"]] == ["string", "array"]


def test_parameters_that_were_checked_are_not_checked_again_and_not_mixed_up() -> None:
    def asked(side: int) -> schema.ClipServiceExtractFeaturesRequest:
        params = clip_pb2.ClipParams(load_size=side)
        request = clip_pb2.ClipServiceExtractFeaturesRequest(
            image=image_pb2.Image(content=b"picture"), params=params
        )
        return from_message(request, schema.ClipServiceExtractFeaturesRequest)

    assert asked(224).params is asked(224).params
    assert (asked(224).params.load_size, asked(448).params.load_size) == (224, 448)
    for _ in range(2):  # what is wrong is told each time, by its place in the request
        with pytest.raises(ValidationError) as caught:
            asked(10**6)
        told = violations(caught.value, schema.ClipServiceExtractFeaturesRequest)
        assert [each.field for each in told] == ["params.load_size"]
