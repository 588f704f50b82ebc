"""Conversion between protobuf messages and their pydantic twins, by walking the descriptor.

`ListFields()` omits zeros, so presence is asked field by field; 64-bit integers stay integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from featsvc.codec.picture_files import Files
from featsvc.codec.wire import PARAM
from featsvc.fields.base import Parameters, TooMany
from featsvc.v1 import options_pb2

Twin = TypeVar("Twin", bound=BaseModel)
Proto = TypeVar("Proto", bound=ProtoMessage)
# protobuf's compiled and pure descriptors share no type, and its typed extensions are not what protoc writes.
Descriptor: TypeAlias = Any
EnumDescriptor: TypeAlias = Any
FieldDescriptor: TypeAlias = Any
ARRAY: Any = options_pb2.array
WORD: Any = options_pb2.word
PARAMETERS = "params"
"""The field in which the twin of a request has all parameters of the call, whatever messages hold them."""
CACHED, CACHED_BYTES = 256, 256
"""Parameters of this many bytes at most are kept, this many of them."""


def from_message(message: ProtoMessage, twin: type[Twin], files: Files | None = None) -> Twin:
    """The checked twin of a message; raises pydantic.ValidationError, which `violations` turns into fields.

    `files` are the picture files that were taken out of the message.
    """
    return twin.model_validate(_plain(message, twin, files))


def to_message(twin: BaseModel, message_class: type[Proto]) -> Proto:
    """The message of a twin; only fields that the twin was given, or that the message shares with it, are set."""
    message = message_class()
    fill(message, _values_set(twin))
    return message


def _values_set(twin: BaseModel) -> Mapping[str, object]:
    """What is set in a twin, by the fields of its message."""
    if isinstance(twin, Parameters):
        return twin.by_holder()
    values = {name: getattr(twin, name) for name in twin.model_fields_set}
    params = values.get(PARAMETERS)
    if isinstance(params, Parameters):
        del values[PARAMETERS]
        values |= params.by_holder()
    return values


@cache
def parameters_of(twin: type[BaseModel] | None) -> type[Parameters] | None:
    """The class of the parameters of a request."""
    field = None if twin is None else twin.model_fields.get(PARAMETERS)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Parameters) else None


@cache
def is_array(descriptor: Descriptor) -> bool:
    """Whether JSON writes this message as an array."""
    return bool(descriptor.GetOptions().Extensions[ARRAY])


@cache
def words(enum: EnumDescriptor) -> Mapping[int, str]:
    """Number to word for every value but the unspecified one."""
    return {
        value.number: value.GetOptions().Extensions[WORD] or value.name.lower()
        for value in enum.values
        if value.number
    }


@cache
def numbers(enum: EnumDescriptor) -> Mapping[str, int]:
    """Word to number."""
    return {word: number for number, word in words(enum).items()}


@dataclass(frozen=True, slots=True)
class _Field:
    """What reading a field asks of its descriptor and of its twin, asked once."""

    name: str
    is_repeated: bool
    has_presence: bool
    is_message: bool
    words: Mapping[int, str] | None
    twin: type[BaseModel] | None
    """The class of its messages, where there is one."""
    most: int
    """Items that it may hold; 0 for any number."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What reading a message asks of its descriptor and of its twin, asked once."""

    fields: tuple[_Field, ...]
    """All but those that hold parameters, which are read together."""
    is_array: bool
    parameters: type[Parameters] | None
    holders: tuple[str, ...]
    """The fields that hold parameters."""


@cache
def _form(descriptor: Descriptor, twin: type[BaseModel] | None) -> _Form:
    kinds = {} if twin is None else {name: field.annotation for name, field in twin.model_fields.items()}
    twins = {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    parameters = parameters_of(twin)
    holders = () if parameters is None else tuple(parameters.held_by)
    fields = tuple(
        _Field(
            name=field.name,
            is_repeated=field.is_repeated,
            has_presence=field.has_presence,
            is_message=field.message_type is not None,
            words=words(field.enum_type) if field.enum_type is not None else None,
            twin=twins.get(field.name),
            most=field.GetOptions().Extensions[PARAM].max_items,
        )
        for field in descriptor.fields
        if field.name not in holders
    )
    return _Form(fields, is_array(descriptor), parameters, holders)


def _plain(message: ProtoMessage, twin: type[BaseModel] | None = None, files: Files | None = None) -> object:
    """The message as plain values: a mapping of its present fields, or a tuple where JSON writes an array.

    Parameters are their checked twins already, where these are at hand.
    """
    form = _form(message.DESCRIPTOR, twin)
    if form.is_array:
        parts = tuple(_value(getattr(message, field.name), field) for field in form.fields)
        return parts[0] if form.fields[0].is_repeated else parts
    values: dict[str, object] = {}
    for field in form.fields:
        # Presence first: reading an absent message would make one.
        if field.has_presence and not message.HasField(field.name):
            continue
        if files and (file := files.get(field.name)) is not None:
            of_field = getattr(message, field.name)
            values[field.name] = file if isinstance(file, bytes) else _plain(of_field, field.twin, file)
            continue
        value = getattr(message, field.name)
        if (field.is_repeated and not value) or (field.words is not None and value == 0):
            continue
        values[field.name] = _value(value, field)
    if form.parameters is not None:
        contents = [
            getattr(message, name).SerializeToString() if message.HasField(name) else b""
            for name in form.holders
        ]
        if any(contents):
            values[PARAMETERS] = _parameters(message, tuple(contents), form.parameters)
    return values


def _value(value: Any, field: _Field) -> object:  # Any: whatever the field holds
    if field.is_repeated:
        if field.most and len(value) > field.most:
            # Counted only: a message of one megabyte may hold half a million of them.
            return TooMany(len(value))
        return (
            tuple(_single(each, field) for each in value) if field.is_message or field.words else tuple(value)
        )
    return _single(value, field)


def _single(value: Any, field: _Field) -> object:  # Any: see above
    if field.is_message:
        return _plain(value, field.twin)
    return value if field.words is None else field.words.get(value, f"number {value}")


def _parameters(request: Any, contents: tuple[bytes, ...], twin: type[Parameters]) -> object:
    """Their twin, or plain values where they are large or wrong: then the whole request tells what is wrong with it.

    Any: a message with the fields that hold parameters, whose contents are these.
    """
    if sum(map(len, contents)) > CACHED_BYTES:
        return _side_by_side(request, twin)
    try:
        kind: Any = type(request)
        return _cached(kind, contents, twin)
    except ValidationError:
        return _side_by_side(request, twin)


# Callers ask many questions with the same parameters; checking them is most of checking a small request.
@lru_cache(maxsize=CACHED)
def _cached(kind: Any, contents: tuple[bytes, ...], twin: type[Parameters]) -> Parameters:  # Any: see above
    request = kind()
    for name, content in zip(twin.held_by, contents, strict=True):
        getattr(request, name).MergeFromString(content)
    return twin.model_validate(_side_by_side(request, twin))


def _side_by_side(request: Any, twin: type[Parameters]) -> dict[str, object]:  # Any: see above
    values: dict[str, object] = {}
    for name in twin.held_by:
        part: Any = _plain(getattr(request, name))  # Any: a mapping, for what holds parameters is no array
        values |= part
    return values


def fill(message: ProtoMessage, values: Mapping[str, object]) -> None:
    """Sets the fields of a message that the mapping holds, None is left out."""
    for field in message.DESCRIPTOR.fields:
        value = values.get(field.name)
        if value is None:
            continue
        if field.message_type is not None:
            _fill_messages(message, field, value)
        elif field.is_repeated and isinstance(value, Iterable):
            getattr(message, field.name).extend(_scalar(each, field) for each in value)
        else:
            setattr(message, field.name, _scalar(value, field))


def _fill_messages(message: ProtoMessage, field: FieldDescriptor, value: object) -> None:
    target = getattr(message, field.name)
    if not field.is_repeated:
        target.SetInParent()
        _fill_one(target, value)
    elif isinstance(value, Iterable):
        for each in value:
            _fill_one(target.add(), each)


def _fill_one(target: ProtoMessage, value: object) -> None:
    fields = target.DESCRIPTOR.fields
    if isinstance(value, BaseModel):
        fill(target, _values_set(value))
    elif isinstance(value, Mapping):
        fill(target, value)
    elif fields[0].is_repeated:
        fill(target, {fields[0].name: value})
    elif isinstance(value, Iterable):
        fill(target, dict(zip((field.name for field in fields), value, strict=True)))


def _scalar(value: object, field: FieldDescriptor) -> object:
    return numbers(field.enum_type)[str(value)] if field.enum_type is not None else value
