"""Request bodies: a picture's fields beside those of every other part of the gRPC request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as ProtoMessage
from pydantic import Field, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from featsvc.errors import InvalidArgument
from featsvc.twin import arrays, to_message
from featsvc.twin.base import Message, Ruled
from featsvc.twin.messages import fill
from featsvc.v1 import schema, tensor_pb2
from rest_shim.base64_bytes import Base64
from rest_shim.contract import SOURCES, is_image, is_tensor, message_of, rest_default, shape_name

CONTENT = schema.Image.model_fields["content"]
Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=2**20)], ...], Field(max_length=8)]


class Body(Ruled):
    """What every request body is made of; each endpoint has a subclass."""

    parts: ClassVar[tuple[type[Message], ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()
    own_defaults: ClassVar[Mapping[str, tuple[object, object]]] = {}
    """REST's default and gRPC's, where they differ: for its own the shim asks for gRPC's, and makes it of that."""

    def _ruled(self) -> Mapping[str, object]:
        return dict(self) | {name: self.own_defaults[name][1] for name in self._absent_over_grpc()}

    def _absent_over_grpc(self) -> set[str]:
        """The options that have REST's own default, be it given or not."""
        return {name for name, (ours, _) in self.own_defaults.items() if getattr(self, name) == ours}

    @model_validator(mode="after")
    def _tensors_fit(self) -> Self:
        for name in self.tensors:
            _check_tensor(name, getattr(self, name), getattr(self, shape_name(name)))
        return self

    def given(self) -> Mapping[str, object]:
        """What the caller gave for the gRPC request, and nothing else."""
        names = self.model_fields_set - self._absent_over_grpc()
        given = {name: getattr(self, name) for name in names}
        for name in self.tensors:
            if given.get(name) is not None:
                given[name] = _tensor(given[name], getattr(self, shape_name(name)))
        return given


class ImageBody(Body):
    """A picture: its file, or where to fetch it."""

    image: Base64 | None = Field(
        default=None,
        description=f"{CONTENT.description} As base64, bare or in a data: URI. "
        "Give this, image_url or image_digest.",
        examples=["base64_encoded_image"],
    )
    image_url: str | None = Field(default=None)
    image_digest: str | None = Field(default=None)

    def put(self, picture: ProtoMessage) -> None:
        """Puts the picture into its part of the gRPC request."""
        (name,) = self._named()
        setattr(picture, SOURCES[name], getattr(self, name))

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
    parts = tuple(getattr(schema, message.name) for message in messages)
    # Reversed, because pydantic lists the fields of the last base first.
    bases = (*reversed(parts), ImageBody if any(map(is_image, request.fields)) else Body)
    tensors = tuple(field.name for message in messages for field in message.fields if is_tensor(field))
    # Any: create_model takes (type, Field) pairs of whatever type.
    fields: dict[str, Any] = _other_sources() if bases[-1] is ImageBody else {}
    ours = [field for message in messages for field in message.fields if rest_default(field)]
    fields |= {field.name: _with_rest_default(field) for field in ours}
    for each in tensors:
        described = next(part.model_fields[each].description for part in parts if each in part.model_fields)
        fields[each] = (Base64 | None, Field(default=None, description=f"{described} As base64."))
        fields[shape_name(each)] = (Shape | None, Field(default=None, description=f"Shape of {each}."))
    documentation = getattr(schema, request.name).__doc__
    made = create_model(name, __base__=bases, __module__=__name__, __doc__=documentation, **fields)
    return _completed(made, parts, tensors, dict(map(_defaults, ours)))


def _completed(
    made: Any,
    parts: tuple[type[Message], ...],
    tensors: tuple[str, ...],
    own_defaults: Mapping[str, tuple[object, object]],
) -> type[Body]:
    """The class with what it must know of itself; Any: a class made at run time has no static type."""
    made.parts, made.tensors, made.own_defaults = parts, tensors, own_defaults
    body: type[Body] = made
    return body


def _other_sources() -> dict[str, Any]:  # Any: as create_model takes them
    described = {name: schema.Image.model_fields[source] for name, source in SOURCES.items()}
    return {name: (field.annotation, field) for name, field in described.items() if name != "image"}


def _with_rest_default(option: FieldDescriptor) -> tuple[Any, FieldInfo]:  # Any: as create_model takes it
    known, (_, (ours, _)) = _known(option), _defaults(option)
    return known.annotation, FieldInfo(default=ours, description=known.description)


def _defaults(option: FieldDescriptor) -> tuple[str, tuple[object, object]]:
    """The name of an option, with REST's default and gRPC's."""
    theirs = _known(option).default
    return option.name, (type(theirs)(rest_default(option)), theirs)


def _known(option: FieldDescriptor) -> FieldInfo:
    message = cast(Descriptor, option.containing_type)  # an option is a field of some message
    found: FieldInfo = getattr(schema, message.name).model_fields[option.name]
    return found


def put(body: Body, message: ProtoMessage, request: Descriptor) -> None:
    """Puts a body into the gRPC request."""
    given = body.given()
    for field in request.fields:
        target = getattr(message, field.name)
        if isinstance(body, ImageBody) and is_image(field):
            body.put(target)
        else:
            # gRPC takes several prompts, REST has one.
            part = target.add() if field.is_repeated else target
            part.SetInParent()
            fill(part, given)


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
    try:
        arrays.to_array(to_message(_tensor(content, shape), tensor_pb2.Tensor))
    except InvalidArgument as error:
        reason = error.message.partition(": ")[2]
        raise PydanticCustomError("rule", "{reason}", {"reason": reason, "field": name}) from None
