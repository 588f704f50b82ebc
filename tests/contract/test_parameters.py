"""Parameters are defined once, held by several messages of a request, and side by side everywhere else."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import featsvc
from featsvc.twin import from_message, to_message, violations
from featsvc.twin.messages import parameters_of
from featsvc.v1 import clip_pb2, dino_pb2, schema
from tests.contract.test_twins import FILES, PARAMETERS, messages
from tests.parts import side_by_side

MESSAGES = {name: getattr(file, name) for file in FILES for name in file.DESCRIPTOR.message_types_by_name}
REQUESTS = [
    twin
    for name, twin in vars(schema).items()
    if name.endswith("Request") and parameters_of(twin) is not None
]


def test_a_parameter_is_defined_once() -> None:
    definitions = Counter(
        field.name for message, _ in PARAMETERS.values() for field in message.DESCRIPTOR.fields
    )
    # Of load_size the two families have defaults of their own; a similarity map takes the others without effect.
    again = {"load_size", "ret_pca", "pca_niter", "pca_q_min", "pca_q_max", "tensor_format"}
    assert {name: count for name, count in definitions.items() if count > 1} == dict.fromkeys(again, 2)


def test_a_request_holds_no_parameter_twice() -> None:
    for request in REQUESTS:
        kind = parameters_of(request)
        assert kind is not None
        names = [name for part in kind.held_by.values() for name in part.model_fields]
        assert sorted(names) == sorted(kind.model_fields)


@pytest.mark.parametrize("twin", REQUESTS)
@settings(max_examples=60, deadline=None)
@given(drawn=st.data())
def test_parameters_are_side_by_side_in_the_twin_and_where_they_belong_in_the_message(
    twin: type[BaseModel], drawn: st.DataObject
) -> None:
    message = MESSAGES[twin.__name__]
    sent = message()
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if field.message_type.name in PARAMETERS:
            part = drawn.draw(messages(PARAMETERS[field.message_type.name][0]))
            if part.ListFields():
                getattr(sent, name).CopyFrom(part)
        elif field.message_type.name in ("Texts", "TextQuery", "ObjectQuery"):
            getattr(sent, name).text.append("a text")
        elif field.message_type.name == "Image":
            getattr(sent, name).content = b"picture"
    try:
        read: Any = from_message(sent, twin)
    except ValidationError as error:
        if any(each["type"] != "rule" for each in error.errors()):
            raise
        return
    assert to_message(read, message) == sent
    assert read.params.model_fields_set == side_by_side(sent, parameters_of(twin)).keys()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_bad_parameter_is_named_by_the_field_that_holds_it(wrapped: bool) -> None:
    request = clip_pb2.ClipServiceExtractFeaturesRequest(
        image={"content": b"picture"},
        model={"model_name": "x" * 129},
        params={"load_size": 10**6},
        grid={"interpolation_mode": 99},
        features={"pca_q_min": 2, "points": [{"x": -1, "y": 0}]},
    )
    twin: type[BaseModel] = schema.ClipServiceExtractFeaturesRequest
    if wrapped:
        request = clip_pb2.ClipServiceExtractFeaturesChunkedRequest(request=request)
        twin = schema.ClipServiceExtractFeaturesChunkedRequest
    with pytest.raises(ValidationError) as caught:
        from_message(request, twin)
    assert {each.field for each in violations(caught.value, twin)} == {
        "model.model_name",
        "params.load_size",
        "grid.interpolation_mode",
        "features.pca_q_min",
        "features.points[0][0]",
    }


@pytest.mark.parametrize(
    ("grid", "features", "field"),
    [
        ({"ret_patches": False}, {"region": {"x1": 9, "y1": 9}}, "grid.ret_patches"),
        ({"ret_patches": False}, {"points": [{"x": 1, "y": 1}]}, "grid.ret_patches"),
        ({}, {"ret_pca": True, "points": [{"x": 1, "y": 1}]}, "features.ret_pca"),
    ],
)
def test_what_holds_between_messages_of_a_request_is_checked(
    grid: dict[str, Any], features: dict[str, Any], field: str
) -> None:
    for family in (clip_pb2.ClipServiceExtractFeaturesRequest, dino_pb2.DinoServiceExtractFeaturesRequest):
        request = family(image={"content": b"picture"}, grid=grid, features=features)
        twin = getattr(schema, family.DESCRIPTOR.name)
        with pytest.raises(ValidationError) as caught:
            from_message(request, twin)
        assert [each.field for each in violations(caught.value, twin)] == [field]


def test_engines_name_parameters_that_there_are() -> None:
    named = {
        name
        for folder in ("engines", "catalog")
        for path in (Path(featsvc.__file__).parent / folder).rglob("*.py")
        for name in re.findall(r"[\"']params\.(\w+)", path.read_text())
    }
    assert len(named) > 5
    assert named <= {name for _, twin in PARAMETERS.values() for name in twin.model_fields}
