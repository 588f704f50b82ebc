"""Answers that come in pieces: each is copied once, from its message into the one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message as ProtoMessage
from numpy.typing import NDArray

from featsvc.codec import varint
from featsvc.codec.arrays import nbytes
from featsvc.errors import InvalidArgument
from featsvc.twin.methods import tensor_field
from featsvc_client.errors import damaged

# Any: the replies of CLIP and DINO have the same fields, but no common type.
Reply: TypeAlias = Any

# Tags of the protobuf wire format, field number * 8 + type: `chunk` of the message, `offset` and `data` of the chunk.
CHUNK, OFFSET, DATA = 0x12, 0x08, 0x12


@dataclass(frozen=True)
class Chunk:
    """A piece of the data of a tensor."""

    offset: int
    data: memoryview


class Pieces:
    """The answer to one question as its messages come: the reply, then the data of its tensor if that is large."""

    def __init__(self, message: type[ProtoMessage]) -> None:
        self._message = message
        self._reply: Reply = None
        self._array: NDArray[np.uint8] | None = None
        self._filled = 0

    def decode(self, message: bytes) -> Chunk | Reply:
        """One message; that of a chunk without protobuf, which would copy its data."""
        chunk = _chunk(memoryview(message))
        if chunk is not None:
            return chunk
        part: Reply = self._message.FromString(message)
        if part.HasField("chunk"):
            return Chunk(part.chunk.offset, memoryview(part.chunk.data))
        return part.reply

    def take(self, part: Chunk | Reply) -> None:
        """Keeps the reply, or copies a piece to where it belongs."""
        if not isinstance(part, Chunk):
            self._begin(part)
            return
        if self._array is None:
            raise damaged("a piece came that belongs to no tensor")
        end = part.offset + len(part.data)
        if part.offset != self._filled or end > self._array.size:
            raise damaged(
                f"bytes {part.offset} to {end} came where {self._filled} to {self._array.size} were due"
            )
        self._array[part.offset : end] = np.frombuffer(part.data, np.uint8)
        self._filled = end

    def whole(self) -> tuple[Reply, memoryview | None]:
        """The reply, and the data of its tensor where that came in pieces; raises ServerError if a part is missing."""
        if self._reply is None:
            raise damaged("it ended before it began")
        if self._array is None:
            return self._reply, None
        if self._filled != self._array.size:
            raise damaged(f"it ended after {self._filled} of {self._array.size} bytes")
        self._array.flags.writeable = False
        return self._reply, self._array.data

    def _begin(self, reply: Reply) -> None:
        if self._reply is not None:
            raise damaged("it began twice")
        self._reply, tensor = reply, getattr(reply, tensor_field(reply.DESCRIPTOR).name)
        try:
            size = nbytes(tensor.dtype, tensor.shape)
        except InvalidArgument as error:
            raise damaged(error.message) from error
        if not tensor.data and size:
            self._array = np.empty(size, np.uint8)


def _chunk(message: memoryview) -> Chunk | None:
    """The chunk of a message that holds nothing else; None where protobuf should read it."""
    try:
        length, start = varint.read(message, 1)
        if message[0] != CHUNK or start + length != len(message):
            return None
        offset = 0
        if message[start] == OFFSET:
            offset, start = varint.read(message, start + 1)
        length, begin = varint.read(message, start + 1)
        if message[start] != DATA or begin + length != len(message):
            return None
        return Chunk(offset, message[begin:])
    except (IndexError, ValueError):
        return None
