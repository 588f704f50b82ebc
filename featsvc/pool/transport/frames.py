"""Frames over a Unix socket: a header, and a body that is a message or the place of one in shared memory."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("<IB")  # bytes of the body, Kind
RETURN = struct.Struct("<Q?")  # segment, and whether the reader keeps it mapped
LARGE_BYTES = 64 * 1024
ALIGNMENT = 64


class Kind(IntEnum):
    """What the body of a frame is."""

    MESSAGE = 0
    IN_SEGMENT = 1
    IN_NEW_SEGMENT = 2  # whose file comes along
    RETURNED = 3


@dataclass(frozen=True)
class Packed:
    """A message as a pickle stream, and the large buffers that stay where they are."""

    parts: list[bytes]
    buffers: list[memoryview]
    message: object

    @property
    def stream_bytes(self) -> int:
        """Bytes of the stream."""
        return sum(map(len, self.parts))

    @property
    def is_large(self) -> bool:
        """Whether it goes through shared memory."""
        return bool(self.buffers) or self.stream_bytes >= LARGE_BYTES


class _Stream:
    """A file for the pickler that keeps references to large bytes objects where a BytesIO would copy them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, part: bytes | memoryview) -> int:
        self.parts.append(part if isinstance(part, bytes) else bytes(part))
        return len(part)


def packed(message: object) -> Packed:
    """The message, packed; raises whatever pickling its classes raises."""
    stream, buffers = _Stream(), []

    def keeps_inline(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE_BYTES:
            return True
        buffers.append(buffer.raw())
        return False

    pickle.Pickler(stream, protocol=5, buffer_callback=keeps_inline).dump(message)
    return Packed(stream.parts, buffers, message)


def frame(kind: Kind, body: bytes) -> bytes:
    """The bytes of a frame."""
    return HEADER.pack(len(body), kind) + body
