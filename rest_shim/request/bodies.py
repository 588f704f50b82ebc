"""Request bodies: a picture's fields beside those of every other part of the gRPC request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, cast, get_args, get_origin

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, Field, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from featsvc.codec import arrays
from featsvc.fields.base import Message, NullMeans, Number, OneOrMany, Ruled
from featsvc.twin.messages import fill
from featsvc.twin.methods import twin_of
from featsvc.v1 import schema, tensor_pb2
from rest_shim.contract import (
    BESIDE_SOURCES,
    SOURCES,
    is_image,
    is_tensor,
    message_of,
    rest_default,
    shape_name,
)
from rest_shim.request.base64_bytes import Base64

CONTENT = schema.Image.model_fields["content"]
Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=2**20), Number()], ...], Field(max_length=8)]


class Defaults(NamedTuple):
    """What an option is where nobody sets it."""

    rest: object
    grpc: object


class Body(Ruled):
    """What every request body is made of; each endpoint has a subclass."""

    parts: ClassVar[tuple[type[Message], ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()
    own_defaults: ClassVar[Mapping[str, Defaults]] = {}
    """Where the two differ: for REST's own the shim asks for gRPC's, and makes it of that."""
    meant_nulls: ClassVar[frozenset[str]] = frozenset()
    """The options in which null has a meaning of its own; anywhere else it means that there is nothing."""
    one_or_many: ClassVar[str | None] = None
    """The field that may be one text or a list of them, and whose texts the reply is about."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: object) -> object:
        if not isinstance(content, Mapping):
            return content
        # Many libraries write every field of an object, be it set or not. A misspelt name is told all the same.
        meant = cls.meant_nulls
        return {
            name: value
            for name, value in content.items()
            if value is not None or name in meant or name not in cls.model_fields
        }

    def _ruled(self) -> Mapping[str, object]:
        return dict(self) | {name: self.own_defaults[name].grpc for name in self._absent_over_grpc()}

    def _absent_over_grpc(self) -> set[str]:
        """The options that have REST's own default, be it given or not."""
        return {name for name, each in self.own_defaults.items() if getattr(self, name) == each.rest}

    @model_validator(mode="after")
    def _tensors_fit(self) -> Self:
        for name in self.tensors:
            _check_tensor(name, getattr(self, name), getattr(self, shape_name(name)))
        return self

    def values_set(self) -> Mapping[str, object]:
        """What the caller gave for the gRPC request, and nothing else."""
        names = self.model_fields_set - self._absent_over_grpc()
        values = {name: getattr(self, name) for name in names}
        for name in self.tensors:
            if values.get(name) is not None:
                values[name] = _tensor(values[name], getattr(self, shape_name(name)))
        return values


class ImageBody(Body):
    """A picture: its file, or where to fetch it."""

    image: Base64 | None = Field(
        default=None,
        description=f"{CONTENT.description} As base64, bare or in a data: URI. "
        "Give this, image_url or image_digest.",
    )
    image_url: str | None = Field(default=None)
    image_digest: str | None = Field(default=None)

    @property
    def source(self) -> str:
        """The field that says which picture it is."""
        return self._named()[0]

    def put(self, picture: ProtoMessage) -> None:
        """Puts the picture into its part of the gRPC request."""
        name = self.source
        setattr(picture, SOURCES[name], getattr(self, name))
        beside = self.model_fields_set.intersection(BESIDE_SOURCES)
        fill(picture, {name: getattr(self, name) for name in beside})

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self._named()) != 1:
            raise PydanticCustomError(
                "rule", "give exactly one of {names}", {"names": ", ".join(SOURCES), "field": "image"}
            )
        return self

    def _named(self) -> list[str]:
        return [name for name in SOURCES if getattr(self, name) is not None]


def body_class(name: str, request: Descriptor) -> type[Body]:
    """The body of a gRPC request: the fields of all its parts side by side, as REST has them."""
    messages = [message_of(field) for field in request.fields if not is_image(field)]
    parts = _parts(twin_of(request))
    # Reversed, because pydantic lists the fields of the last base first.
    root = ImageBody if any(map(is_image, request.fields)) else Body
    bases: tuple[type[Message], ...] = (*reversed(parts), root)
    tensors = tuple(field.name for message in messages for field in message.fields if is_tensor(field))
    # Any: create_model takes (type, Field) pairs of whatever type.
    fields: dict[str, Any] = _other_sources() if root is ImageBody else {}
    ours = [field for message in messages for field in message.fields if rest_default(field)]
    fields |= {field.name: _with_rest_default(field) for field in ours}
    for each in tensors:
        described = next(part.model_fields[each].description for part in parts if each in part.model_fields)
        fields[each] = (Base64 | None, Field(default=None, description=f"{described} As base64."))
        fields[shape_name(each)] = (Shape | None, Field(default=None, description=f"Shape of {each}."))
    documentation = twin_of(request).__doc__
    made = create_model(name, __base__=bases, __module__=__name__, __doc__=documentation, **fields)
    return _completed(made, parts, tensors, {field.name: _defaults(field) for field in ours})


def _parts(request: type[BaseModel]) -> tuple[type[Message], ...]:
    """The classes of what a request holds beside a picture, all its parameters in one."""
    kinds = [_without_none(field.annotation) for field in request.model_fields.values()]
    # Of several, such as prompts, a body has one. Any: what is said of a type is no type.
    single: list[Any] = [get_args(kind)[0] if get_origin(kind) is tuple else kind for kind in kinds]
    return tuple(kind for kind in single if kind is not schema.Image)


def _without_none(annotation: Any) -> Any:  # Any: what is said of a type is no type
    """The type of a part that may be left out."""
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    return kinds[0] if type(None) in get_args(annotation) else annotation


def _completed(
    made: Any,
    parts: tuple[type[Message], ...],
    tensors: tuple[str, ...],
    own_defaults: Mapping[str, Defaults],
) -> type[Body]:
    """The class with what it must know of itself; Any: a class made at run time has no static type."""
    body: type[Body] = made
    body.parts, body.tensors, body.own_defaults = parts, tensors, own_defaults
    body.meant_nulls = frozenset(_marked(body, NullMeans))
    body.one_or_many = next((name for name in _marked(body, OneOrMany) if _is_required(body, name)), None)
    return body


def _marked(body: type[Body], mark: type[object]) -> list[str]:
    return [
        name
        for name, field in body.model_fields.items()
        if any(isinstance(each, mark) for each in field.metadata)
    ]


def _is_required(body: type[Body], name: str) -> bool:
    return body.model_fields[name].is_required()


def _other_sources() -> dict[str, Any]:  # Any: as create_model takes them
    described = {name: schema.Image.model_fields[source] for name, source in SOURCES.items()}
    described |= {name: schema.Image.model_fields[name] for name in BESIDE_SOURCES}
    return {name: (field.annotation, field) for name, field in described.items() if name != "image"}


def _with_rest_default(option: FieldDescriptor) -> tuple[Any, FieldInfo]:  # Any: as create_model takes it
    known = _schema_field(option)
    return known.annotation, FieldInfo(default=_defaults(option).rest, description=known.description)


def _defaults(option: FieldDescriptor) -> Defaults:
    theirs = _schema_field(option).default
    return Defaults(type(theirs)(rest_default(option)), theirs)


def _schema_field(option: FieldDescriptor) -> FieldInfo:
    message = cast(Descriptor, option.containing_type)  # an option is a field of some message
    return twin_of(message).model_fields[option.name]


def put(body: Body, message: ProtoMessage, request: Descriptor) -> None:
    """Puts a body into the gRPC request."""
    values = body.values_set()
    for field in request.fields:
        target = getattr(message, field.name)
        if isinstance(body, ImageBody) and is_image(field):
            body.put(target)
        else:
            # gRPC takes several prompts, REST has one.
            fill(target.add() if field.is_repeated else target, values)


def _tensor(content: bytes, shape: tuple[int, ...]) -> schema.Tensor:
    return schema.Tensor(dtype=schema.DType.FLOAT32, shape=shape, data=content)


def _check_tensor(name: str, content: bytes | None, shape: tuple[int, ...] | None) -> None:
    if content is None and shape is None:
        return
    if content is None or shape is None:
        missing, other = (name, shape_name(name)) if content is None else (shape_name(name), name)
        raise PydanticCustomError(
            "rule", "is needed together with {other}", {"other": other, "field": missing}
        )
    expected = arrays.nbytes(tensor_pb2.D_TYPE_FLOAT32, shape)
    if len(content) != expected:
        reason = f"holds {len(content)} bytes, but float32 of {shape_name(name)} {list(shape)} are {expected}"
        raise PydanticCustomError("rule", "{reason}", {"reason": reason, "field": name})
