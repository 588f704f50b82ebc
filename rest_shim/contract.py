"""Questions about the descriptors of the contract."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from featsvc.v1 import image_pb2, tensor_pb2

IMAGE = image_pb2.Image.DESCRIPTOR.full_name
TENSOR = tensor_pb2.Tensor.DESCRIPTOR.full_name


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
