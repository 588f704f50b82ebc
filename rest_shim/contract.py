"""Questions about the descriptors of the contract."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from featsvc.codec.wire import PARAM
from featsvc.v1 import image_pb2, schema, tensor_pb2

IMAGE = image_pb2.Image.DESCRIPTOR.full_name
TENSOR = tensor_pb2.Tensor.DESCRIPTOR.full_name
# A picture is one field of a gRPC request; REST has one beside the others for each way to name it.
SOURCES = {"image": "content", "image_url": "url", "image_digest": "digest"}
# What else is said of a picture.
BESIDE_SOURCES = tuple(name for name in schema.Image.model_fields if name not in SOURCES.values())


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message that a field of a request holds: every one of them holds one."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} holds no message")
    return field.message_type


def is_image(field: FieldDescriptor) -> bool:
    """Whether the field holds a picture."""
    return field.message_type is not None and field.message_type.full_name == IMAGE


def is_tensor(field: FieldDescriptor) -> bool:
    """Whether the field holds a tensor, which is two fields in JSON."""
    return field.message_type is not None and field.message_type.full_name == TENSOR


def shape_name(tensor: str) -> str:
    """The JSON field that holds the shape of a tensor field."""
    return f"{tensor}_shape"


def rest_default(field: FieldDescriptor) -> str:
    """The word that stands in REST where the caller gives none, where that is another than over gRPC."""
    word: str = field.GetOptions().Extensions[PARAM].rest_default
    return word


@cache
def field_of(request: Descriptor, enum: EnumDescriptor) -> str | None:
    """The option of a request that is a word of this enum."""
    for part in request.fields:
        for field in message_of(part).fields:
            if field.enum_type is not None and field.enum_type.full_name == enum.full_name:
                return field.name
    return None
