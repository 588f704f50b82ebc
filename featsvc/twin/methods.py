"""Methods of the contract by their paths, and which of them answer the same question in another way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel

from featsvc.v1 import (
    clip_pb2,
    dino_pb2,
    estimate_pb2,
    image_pb2,
    model_pb2,
    objects_pb2,
    sam2_pb2,
    schema,
    tensor_pb2,
)

# protobuf's compiled and pure classes share no type, and for mypy what is made at run time has no fields.
Descriptor: TypeAlias = Any
FieldDescriptor: TypeAlias = Any
MethodDescriptor: TypeAlias = Any
MessageClass: TypeAlias = Any
# protobuf knows the methods of files that were imported: a new file with a service is named here.
FILES = (clip_pb2, dino_pb2, estimate_pb2, image_pb2, model_pb2, objects_pb2, sam2_pb2)
ESTIMATE = "/featsvc.v1.EstimateService/Estimate"
QUESTION = "request"
"""The field in which a variant has the request of the plain method."""


@dataclass(frozen=True)
class Variants:
    """Methods of the same service that answer what a plain one is asked; None where there is none."""

    chunked: MethodDescriptor | None = None
    """Answers with the reply, and then the elements of its tensor."""
    one_by_one: MethodDescriptor | None = None
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
    """The other ways to ask what a method is asked: their requests hold its request, and their replies its reply or
    a message of a list in that. Raises LookupError where there are two of a kind.
    """
    others: dict[str, MethodDescriptor] = {}
    for method in plain.containing_service.methods:
        kind = _kind(plain, method)
        if kind in others:
            raise LookupError(
                f"{plain.full_name}: {others[kind].name} and {method.name} answer it in the same way"
            )
        if kind:
            others[kind] = method
    return Variants(**others)


def question_field(request: Descriptor) -> str | None:
    """The field that a request has among the questions to estimate; None where it has none."""
    return _question_fields().get(request.full_name)


@cache
def _question_fields() -> dict[str, str]:
    fields = method_of(ESTIMATE).input_type.fields
    return {field.message_type.full_name: field.name for field in fields}


def tensor_field(message: Descriptor) -> FieldDescriptor:
    """The only tensor of a reply that goes in chunks."""
    return _field_of(message, tensor_pb2.Tensor.DESCRIPTOR)


@dataclass(frozen=True)
class ListFields:
    """The fields that a reply and its form one by one have for the same list."""

    many: FieldDescriptor
    """The list in the reply."""
    one: FieldDescriptor
    """A message of it in the form one by one."""
    last: FieldDescriptor
    """What is said of all, in the last message."""


def list_fields(plain: MethodDescriptor, one_by_one: MethodDescriptor) -> ListFields:
    """How the list in a reply goes one by one."""
    many = next(field for field in plain.output_type.fields if _is_list(field))
    one = _field_of(one_by_one.output_type, many.message_type)
    (last,) = (field for field in one_by_one.output_type.fields if field.number != one.number)
    return ListFields(many, one, last)


def _kind(plain: MethodDescriptor, method: MethodDescriptor) -> str:
    """The name of a method among the variants of a plain one; empty where it is none."""
    held = method.input_type.fields_by_name.get(QUESTION)
    if held is None or not _is(held, plain.input_type) or not method.server_streaming:
        return ""
    output = method.output_type
    if any(_is(field, plain.output_type) for field in output.fields):
        if method.client_streaming:
            return "stream"
        return (
            "chunked" if any(_is(field, tensor_pb2.TensorChunk.DESCRIPTOR) for field in output.fields) else ""
        )
    lists = [field.message_type for field in plain.output_type.fields if _is_list(field)]
    return "one_by_one" if any(_is(field, each) for field in output.fields for each in lists) else ""


def _is(field: FieldDescriptor, kind: Descriptor) -> bool:
    """Whether a field holds such a message."""
    return field.message_type is not None and field.message_type.full_name == kind.full_name


def _is_list(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated) and field.message_type is not None


def _field_of(message: Descriptor, kind: Descriptor) -> FieldDescriptor:
    return next(field for field in message.fields if _is(field, kind))
