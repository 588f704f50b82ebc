"""The first directory of a TIFF file, which is also what EXIF data are: read without trusting a single number in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

MOST_ENTRIES = 4096
EXIF_PREFIX = b"Exif\0\0"
UPRIGHT = 1
SHORT, LONG = 3, 4


class Tag:
    """Numbers of the fields that matter here."""

    BITS = 258
    PHOTOMETRIC = 262
    ORIENTATION = 274
    SAMPLE_FORMAT = 339


@dataclass(frozen=True)
class Field:
    """A field with one whole number, and where in the file that stands."""

    value: int
    place: int
    form: str
    """As struct writes it."""


def directory(content: bytes) -> Mapping[int, Field]:
    """The fields of whole numbers by tag, the first number of each; none where this is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return {}
    try:
        (magic,) = struct.unpack_from(order + "H", content, 2)
        if magic == 43:  # BigTIFF
            (start,) = struct.unpack_from(order + "Q", content, 8)
            (count,) = struct.unpack_from(order + "Q", content, start)
            return _fields(content, order + "HHQ", start + 8, count)
        (start,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, start)
        return _fields(content, order + "HHI", start + 2, count)
    except (struct.error, OverflowError):
        return {}


def orientation(exif: bytes) -> int:
    """How EXIF data (or a TIFF file) say that the picture is to be shown, 1 to 8; 1 where they say nothing."""
    field = directory(exif.removeprefix(EXIF_PREFIX)).get(Tag.ORIENTATION)
    return field.value if field and 1 <= field.value <= 8 else UPRIGHT


def _fields(content: bytes, head: str, start: int, count: int) -> Mapping[int, Field]:
    fields: dict[int, Field] = {}
    room = struct.calcsize(head[-1])  # for the value, or for where it stands
    size = struct.calcsize(head) + room
    order = head[0]
    for index in range(min(count, MOST_ENTRIES)):
        try:
            tag, kind, items = struct.unpack_from(head, content, start + index * size)
            form = {SHORT: order + "H", LONG: order + "I"}.get(kind)
            if form is None or not items:
                continue
            place = start + (index + 1) * size - room
            if items * struct.calcsize(form) > room:
                (place,) = struct.unpack_from(order + head[-1], content, place)
            (value,) = struct.unpack_from(form, content, place)
        except (struct.error, OverflowError):
            break
        fields.setdefault(tag, Field(value, place, form))
    return fields
