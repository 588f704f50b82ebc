"""Picture files, taken out of a serialized request before it is parsed.

To parse a message copies them, and to read the field copies them once more, both with the interpreter's lock held: for
30 MB that is 5 to 40 ms each, in which no other thread runs and the event loop answers nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias, Union

from featsvc.codec import varint
from featsvc.codec.copying import joined
from featsvc.codec.wire import LENGTH, end_of
from featsvc.v1 import image_pb2

# protobuf's compiled and pure descriptors share no type.
Descriptor: TypeAlias = Any
Files: TypeAlias = Mapping[str, Union[bytes, "Files"]]
"""By the field that holds one, or a message that does."""
IMAGE = image_pb2.Image.DESCRIPTOR
CONTENT = IMAGE.fields_by_name["content"]
# What is less is copied in microseconds.
LARGE = 256 * 1024


def without_files(raw: bytes, descriptor: Descriptor) -> tuple[bytes, Files]:
    """The request with its large picture files emptied, and these.

    Pictures in lists stay where they are, and so does all where a field is there twice, or what is no message:
    parsing it tells what counts, and what is wrong.
    """
    taking = _Taking(memoryview(raw))
    try:
        rest, files = taking.emptied(descriptor, 0, len(raw))
    except (IndexError, ValueError):
        return raw, {}
    return (joined(rest), files) if files else (raw, {})


class _Taking:
    """One way through a message."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw

    def emptied(self, descriptor: Descriptor, at: int, end: int) -> tuple[list[bytes | memoryview], Files]:
        """What remains of the message between two positions, and its files.

        Raises IndexError or ValueError where it is none, or has a field twice.
        """
        rest, kept, ways = list[bytes | memoryview](), at, _ways(descriptor)
        files: dict[str, bytes | Files | None] = {}
        while at < end:
            begin = at
            tag, at = varint.read(self._raw, at)
            kind, way, size = tag & 7, ways.get(tag >> 3), 0
            if kind == LENGTH:
                size, at = varint.read(self._raw, at)
            after = end_of(self._raw, kind, at, size)
            if after > end:
                raise IndexError("cut off")
            if way is not None:
                if way.name in files:
                    raise ValueError(f"{way.name} twice")
                files[way.name] = None
                if size >= LARGE:
                    inner, files[way.name] = self._without(way, at, after)
                    length = varint.written(sum(map(len, inner)))
                    rest += (self._raw[kept:begin], varint.written(tag), length, *inner)
                    kept = after
            at = after
        return [*rest, self._raw[kept:end]], {name: each for name, each in files.items() if each}

    def _without(self, way: Any, at: int, end: int) -> tuple[list[bytes | memoryview], bytes | Files]:
        """What remains of a field, and what was taken out of it. Any: see Descriptor."""
        if way.message_type is not None:
            return self.emptied(way.message_type, at, end)
        return [], joined([self._raw[at:end]])


@cache
def _ways(descriptor: Descriptor) -> dict[int, Any]:  # Any: fields
    """The fields by which a picture file is reached, by their numbers."""
    if descriptor is IMAGE:
        return {CONTENT.number: CONTENT}
    return {
        each.number: each
        for each in descriptor.fields
        if not each.is_repeated and each.message_type is not None and _ways(each.message_type)
    }
