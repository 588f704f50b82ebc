"""Field paths of the gRPC request as places in the REST body: `image.url` is `image_url` there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor import Descriptor

from featsvc.errors import FieldViolation
from featsvc.twin.violations import dotted
from rest_shim.contract import SOURCES, is_image, is_tensor, shape_name
from rest_shim.errors import HttpError, Mistake, invalid_fields

PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
IMAGE = "image"
IMAGE_FIELDS = {source: name for name, source in SOURCES.items()}

# A call in chunks holds the request in a field of its own.
WRAPPED = ("request",)

Location = tuple[str | int, ...]


def invalid_request(
    violations: Sequence[FieldViolation], request: Descriptor, picture: str = IMAGE
) -> HttpError:
    """422 from the gateway's field violations in REST's names, the picture under the one that was given."""
    locations = [location(each.field, request) for each in violations]
    return invalid_fields(
        Mistake((picture,) if where == (IMAGE,) else where, each.message, "invalid")
        for where, each in zip(locations, violations, strict=True)
    )


def sentences(violations: Sequence[FieldViolation], request: Descriptor) -> str:
    """What the gateway says of fields, each under REST's name; empty where it names none."""
    return "; ".join(f"{dotted(location(each.field, request))}: {each.message}" for each in violations)


def location(path: str, request: Descriptor) -> Location:
    """The place in the body of a dotted path from the request."""
    parts = tuple(_parts(path))
    if parts[:1] == WRAPPED and "request" not in request.fields_by_name:
        parts = parts[1:]
    field = request.fields_by_name.get(str(parts[0])) if parts else None
    if field is None or field.message_type is None:
        return parts
    rest = parts[1:]
    if is_image(field):
        return (IMAGE_FIELDS.get(str(rest[0]), IMAGE),) if rest else (IMAGE,)
    if field.is_repeated and rest and isinstance(rest[0], int):
        rest = rest[1:]
    return _without_tensor(rest, field.message_type)


def _parts(path: str) -> Iterator[str | int]:
    for index, name in PART.findall(path):
        yield int(index) if index else name


def _without_tensor(parts: Location, message: Descriptor) -> Location:
    """A tensor's own fields are two flat ones in the body."""
    field = message.fields_by_name.get(str(parts[0])) if parts else None
    if field is None or not is_tensor(field):
        return parts
    return (shape_name(field.name), *parts[2:]) if parts[1:2] == ("shape",) else (field.name,)
