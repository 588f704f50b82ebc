"""True and false are no numbers, wherever a number belongs."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from pydantic import BaseModel, ValidationError

from featsvc.twin.messages import is_array
from featsvc.v1 import clip_pb2, dino_pb2, features_pb2, image_pb2, objects_pb2, sam2_pb2, schema, tensor_pb2
from rest_shim.app.endpoints import FAMILIES

WORDS = "true and false are no numbers"
NUMBERS = (
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)


def wrong(field: FieldDescriptor, true: object = True) -> object:
    """What the field holds, with `true` for one of its numbers; None where it holds none."""
    one: object = None
    if field.message_type is None:
        one = true if field.cpp_type in NUMBERS else None
    elif is_array(field.message_type):
        first, *others = field.message_type.fields
        inner = wrong(first, true)
        # A grid is a list of points, a point the list of its numbers.
        one = inner if first.is_repeated else None if inner is None else [*(0.5 for _ in others), inner]
    return [one] if one is not None and field.is_repeated else one


FIELDS = {
    f"{name}.{field.name}": (getattr(schema, name), field)
    for file in (image_pb2, tensor_pb2, features_pb2, clip_pb2, dino_pb2, sam2_pb2, objects_pb2)
    for name, message in file.DESCRIPTOR.message_types_by_name.items()
    if hasattr(schema, name) and not is_array(message)
    for field in message.fields
    if wrong(field) is not None
}


def told(twin: type[BaseModel], given: dict[str, object]) -> list[tuple[object, str]]:
    with pytest.raises(ValidationError) as caught:
        twin.model_validate(given)
    return [(each["loc"][0] if each["loc"] else None, each["msg"]) for each in caught.value.errors()]


def test_fields_of_every_kind_are_tried() -> None:
    assert len(FIELDS) >= 30
    assert {"ClipParams.load_size", "Prompt.box", "Prompt.point_labels"} <= set(FIELDS)
    assert {"AutomaticMaskParams.point_grids", "Tensor.shape", "SimilarityParams.softmax"} <= set(FIELDS)


@pytest.mark.parametrize("true", [True, np.True_], ids=["bool", "numpy"])
@pytest.mark.parametrize("name", list(FIELDS))
def test_a_boolean_in_place_of_a_number_is_refused(name: str, true: object) -> None:
    twin, field = FIELDS[name]
    assert (field.name, WORDS) in told(twin, {field.name: wrong(field, true)})


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_boolean_in_place_of_a_number_is_refused_over_rest(family: str) -> None:
    values = {field.name: wrong(field) for _, field in FIELDS.values()} | {"mask_input_shape": [True, 2, 3]}
    tried = 0
    for endpoint in FAMILIES[family].endpoints:
        for name in values.keys() & endpoint.body.model_fields.keys():
            assert (name, WORDS) in told(endpoint.body, {name: values[name]})
            tried += 1
    assert tried
