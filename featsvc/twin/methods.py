"""Methods of the contract by their paths, and which of them answer the same question in another way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel

from featsvc.v1 import clip_pb2, dino_pb2, model_pb2, sam2_pb2, schema, tensor_pb2

# protobuf's compiled and pure classes share no type, and what is made at run time has no fields for mypy.
Descriptor: TypeAlias = Any
FieldDescriptor: TypeAlias = Any
MethodDescriptor: TypeAlias = Any
MessageClass: TypeAlias = Any
# protobuf knows methods of files that were imported.
FILES = (clip_pb2, dino_pb2, model_pb2, sam2_pb2)
QUESTION = "request"
"""The field in which a variant has the request of the plain method."""


@dataclass(frozen=True)
class Variants:
    """Methods of the same service whose request holds that of a plain one; None where there is none."""

    pieces: MethodDescriptor | None = None
    """Answers with the reply, and then the elements of its tensor."""
    parts: MethodDescriptor | None = None
    """Answers with each message of a list in the reply, and then with what is said of all."""
    stream: MethodDescriptor | None = None
    """Takes many questions."""


@cache
def method_of(path: str) -> MethodDescriptor:
    """The method of "/featsvc.v1.ClipService/EncodeText"; raises KeyError where there is none."""
    pool: Any = descriptor_pool.Default()
    return pool.FindMethodByName(path[1:].replace("/", "."))


def path_of(method: MethodDescriptor) -> str:
    """The path by which gRPC calls a method."""
    return f"/{method.containing_service.full_name}/{method.name}"


@cache
def message_class(message: Descriptor) -> MessageClass:
    """The class of a message."""
    return GetMessageClass(message)


def twin_of(message: Descriptor) -> type[BaseModel]:
    """The class that checks a message."""
    twin: type[BaseModel] = getattr(schema, message.name)
    return twin


@cache
def variants(plain: MethodDescriptor) -> Variants:
    """The other ways to ask what a method is asked."""
    found = {
        _kind(each): each
        for each in plain.containing_service.methods
        if _question(each) == plain.input_type.full_name
    }
    return Variants(**found)


def tensor_field(message: Descriptor) -> FieldDescriptor:
    """The only tensor of a reply that goes in pieces."""
    return _field_of(message, tensor_pb2.Tensor.DESCRIPTOR)


@dataclass(frozen=True)
class PartFields:
    """The fields that a reply and its form in parts have for the same list."""

    many: FieldDescriptor
    """The list in the reply."""
    one: FieldDescriptor
    """A message of it in the form in parts."""
    last: FieldDescriptor
    """What is said of all, in the last message."""


def parts_of(plain: MethodDescriptor, variant: MethodDescriptor) -> PartFields:
    """How a reply goes in parts."""
    many = next(
        each for each in plain.output_type.fields if each.is_repeated and each.message_type is not None
    )
    one = _field_of(variant.output_type, many.message_type)
    (last,) = (each for each in variant.output_type.fields if each.number != one.number)
    return PartFields(many, one, last)


def _kind(method: MethodDescriptor) -> str:
    if method.client_streaming:
        return "stream"
    chunk = tensor_pb2.TensorChunk.DESCRIPTOR.full_name
    is_chunked = any(
        field.message_type is not None and field.message_type.full_name == chunk
        for field in method.output_type.fields
    )
    return "pieces" if is_chunked else "parts"


def _question(method: MethodDescriptor) -> str:
    field = method.input_type.fields_by_name.get(QUESTION)
    return field.message_type.full_name if field is not None and field.message_type is not None else ""


def _field_of(message: Descriptor, kind: Descriptor) -> FieldDescriptor:
    return next(
        field
        for field in message.fields
        if field.message_type is not None and field.message_type.full_name == kind.full_name
    )
