"""Request bodies: a picture's fields beside those of every other part of the gRPC request."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from pydantic import Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from featsvc.errors import InvalidArgument
from featsvc.twin import arrays, to_message
from featsvc.twin.base import Message
from featsvc.v1 import schema, tensor_pb2
from rest_shim.base64_bytes import Base64
from rest_shim.contract import is_image, is_tensor, message_of, shape_name

CONTENT, ADDRESS = schema.Image.model_fields["content"], schema.Image.model_fields["url"]
Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=2**20)], ...], Field(max_length=8)]


class Body(Message):
    """What every request body is made of; each endpoint has a subclass."""

    parts: ClassVar[tuple[type[Message], ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _tensors_fit(self) -> Self:
        for name in self.tensors:
            _check_tensor(name, getattr(self, name), getattr(self, shape_name(name)))
        return self

    def part(self, part: type[Message]) -> Message:
        """One part of the gRPC request, holding what the caller gave of it and nothing else."""
        given = {name: getattr(self, name) for name in part.model_fields if name in self.model_fields_set}
        for name in self.tensors:
            if given.get(name) is not None:
                given[name] = _tensor(given[name], getattr(self, shape_name(name)))
        # Checked already, as fields of this body.
        return part.model_construct(**given)


class ImageBody(Body):
    """A picture: its file, or where to fetch it."""

    image: Base64 | None = Field(
        default=None,
        description=f"{CONTENT.description} As base64, bare or in a data: URI. Give this or image_url.",
        examples=["base64_encoded_image"],
    )
    image_url: str | None = Field(default=None)

    @property
    def picture(self) -> schema.Image:
        """The picture's part of the gRPC request."""
        return schema.Image(url=self.image_url) if self.image is None else schema.Image(content=self.image)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.image is None) == (self.image_url is None):
            raise PydanticCustomError("rule", "give exactly one of image, image_url", {"field": "image"})
        return self


def body_class(name: str, request: Descriptor) -> type[Body]:
    """The body of a gRPC request: the fields of all its parts side by side, as REST has them."""
    messages = [message_of(field) for field in request.fields if not is_image(field)]
    parts = tuple(getattr(schema, message.name) for message in messages)
    # Reversed, because pydantic lists the fields of the last base first.
    bases = (*reversed(parts), ImageBody if any(map(is_image, request.fields)) else Body)
    tensors = tuple(field.name for message in messages for field in message.fields if is_tensor(field))
    # Any: create_model takes (type, Field) pairs of whatever type.
    fields: dict[str, Any] = {"image_url": (ADDRESS.annotation, ADDRESS)} if bases[-1] is ImageBody else {}
    for each in tensors:
        described = next(part.model_fields[each].description for part in parts if each in part.model_fields)
        fields[each] = (Base64 | None, Field(default=None, description=f"{described} As base64."))
        fields[shape_name(each)] = (Shape | None, Field(default=None, description=f"Shape of {each}."))
    documentation = getattr(schema, request.name).__doc__
    return _completed(
        create_model(name, __base__=bases, __module__=__name__, __doc__=documentation, **fields),
        parts,
        tensors,
    )


def _completed(made: Any, parts: tuple[type[Message], ...], tensors: tuple[str, ...]) -> type[Body]:
    """The class with what it must know of itself; Any: a class made at run time has no static type."""
    made.parts, made.tensors = parts, tensors
    body: type[Body] = made
    return body


def request_bytes(body: Body, request: Descriptor) -> bytes:
    """The gRPC request of a body, serialised; only what the caller gave is set."""
    message = GetMessageClass(request)()
    for field in request.fields:
        kind, target = message_of(field), getattr(message, field.name)
        part = (
            body.picture
            if isinstance(body, ImageBody) and is_image(field)
            else body.part(getattr(schema, kind.name))
        )
        held = to_message(part, GetMessageClass(kind))
        if field.is_repeated:
            # gRPC takes several prompts, REST has one.
            target.append(held)
        else:
            target.CopyFrom(held)
    return message.SerializeToString()


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
