"""What a serialized message holds, counted before it is parsed.

Parsing makes thirty bytes of two where a list has millions of empty items, and nothing interrupts it. Only lists count
here, whatever else is wrong is the parser's to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from featsvc.codec import varint
from featsvc.errors import InvalidArgument, invalid_field
from featsvc.v1 import options_pb2

# protobuf's compiled and pure descriptors share no type, and its typed extensions are not what protoc writes.
Descriptor: TypeAlias = Any
PARAM: Any = options_pb2.param
# More than any request needs: every list of every prompt as long as it may be.
MOST_FIELDS = 500_000
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    is_list: bool
    most: int
    is_number: bool
    message: Descriptor | None
    """Of what it holds, where there may be lists in it."""


def refuse_crowded(raw: bytes, descriptor: Descriptor) -> None:
    """Raises InvalidFields where a list is longer than it may be, InvalidArgument where all together are."""
    try:
        _Walk(raw).through(descriptor, 0, len(raw), "")
    except IndexError:
        return  # cut off, which the parser tells
    except ValueError:
        raise InvalidArgument("the request is no valid protobuf message of this method") from None


class _Walk:
    """One way through a message, as far as the first list that is too long."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._left = MOST_FIELDS

    def through(self, descriptor: Descriptor, at: int, end: int, path: str) -> None:
        """Goes through the message that lies between two positions."""
        fields, counts = _fields(descriptor), dict[str, int]()
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise InvalidArgument(f"the request has more than {MOST_FIELDS} items in all of its lists")
            tag, at = varint.read(self._raw, at)
            kind, field, size = tag & 7, fields.get(tag >> 3), 0
            if kind == LENGTH:
                size, at = varint.read(self._raw, at)
            after = end_of(self._raw, kind, at, size)
            if field is not None:
                if field.is_list:
                    self._count(field, counts, size if kind == LENGTH else 0, path)
                if field.message is not None and kind == LENGTH and after <= end:
                    index = f"[{counts[field.name] - 1}]" if field.is_list else ""
                    self.through(field.message, at, after, f"{path}{field.name}{index}.")
            at = after

    def _count(self, field: _Field, counts: dict[str, int], size: int, path: str) -> None:
        """Numbers lie packed, so many bytes of them, each up to ten bytes long."""
        items = size // varint.LONGEST if field.is_number and size else 1
        count = counts[field.name] = counts.get(field.name, 0) + items
        if field.most and count > field.most:
            raise invalid_field(f"{path}{field.name}", f"more items than the {field.most} that are taken")


def end_of(raw: bytes | memoryview, kind: int, at: int, size: int) -> int:
    """Where a field ends whose content begins there; `size` is that of a LENGTH.

    Raises ValueError where it is none, IndexError where it is cut off.
    """
    if kind == LENGTH:
        return at + size
    if kind == VARINT:
        while raw[at] & 0x80:
            at += 1
        return at + 1
    if kind in (FIXED32, FIXED64):
        return at + (4 if kind == FIXED32 else 8)
    raise ValueError(f"kind {kind} of the field that ends at {at}")


@cache
def _fields(descriptor: Descriptor) -> dict[int, _Field]:
    return {
        each.number: _Field(
            each.name,
            each.is_repeated,
            each.GetOptions().Extensions[PARAM].max_items,
            each.cpp_type not in (each.CPPTYPE_STRING, each.CPPTYPE_MESSAGE),
            each.message_type if each.message_type is not None and _has_lists(each.message_type) else None,
        )
        for each in descriptor.fields
        if each.is_repeated or each.message_type is not None
    }


def _has_lists(descriptor: Descriptor) -> bool:
    return any(
        each.is_repeated or (each.message_type is not None and _has_lists(each.message_type))
        for each in descriptor.fields
    )
