"""Reply messages beside whose fields large buffers stand, joined into the bytes that gRPC sends with one copy.

What becomes of a large result, from the engine to the socket:

1. The worker writes the array into shared memory (featsvc.pool.transport.channel): the first copy. The gateway has
   that mapped.
2. `Reply.joined` copies the mapped view into the bytes of the message: the second copy.

gRPC's own copy of those bytes into its send buffer follows, on the event loop and out of our reach; that is why unary
replies have a limit (`--max-reply-bytes`), and larger ones go in pieces.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias, Union

import numpy as np
from google.protobuf.message import Message as ProtoMessage
from numpy.typing import NDArray

from featsvc.codec import varint
from featsvc.codec.copying import joined

# protobuf's compiled and pure message classes share no type.
MessageClass: TypeAlias = Any
Array: TypeAlias = NDArray[np.generic]
Piece: TypeAlias = bytes | memoryview
Part: TypeAlias = Union["Reply", Array, Piece]
# Up to here copying holds the event loop for well under a millisecond, and handing it to a thread costs more.
SMALL = 256 * 1024
LENGTH_DELIMITED = 2
LITTLE_ENDIAN = sys.byteorder == "little"


class Reply:
    """A message, and the fields of it that stand beside it: arrays and bytes for `bytes` fields, replies for messages,
    one or a list of them. Small messages are copied into it.

    Protocol buffers let the fields of a message come in any order.
    """

    def __init__(self, message: ProtoMessage, **beside: Part | ProtoMessage | Sequence[Part]) -> None:
        self._message = message
        self._beside: list[tuple[str, Part]] = []
        for name, given in beside.items():
            if isinstance(given, ProtoMessage):
                getattr(message, name).CopyFrom(given)
            elif isinstance(given, (list, tuple)):
                self._beside += [(name, part) for part in given]
            else:
                self._beside.append((name, given))  # type: ignore[arg-type]  # no sequence: a buffer is none either

    @property
    def nbytes(self) -> int:
        """Bytes that stand beside, about."""
        return sum(len(part) if isinstance(part, bytes) else part.nbytes for _, part in self._beside)

    @property
    def is_plain(self) -> bool:
        """Whether nothing stands beside."""
        return not self._beside

    def joined(self) -> bytes:
        """The serialized message. Lets go of what stands beside: the caller's thread frees it, not the event loop."""
        if self.is_plain:
            return self._message.SerializeToString()
        pieces = self._pieces()
        self._beside.clear()
        return b"".join(pieces) if sum(map(len, pieces)) <= SMALL else joined(pieces)

    def _pieces(self) -> list[Piece]:
        pieces: list[Piece] = [self._message.SerializeToString()]
        kind: MessageClass = type(self._message)
        for name, part in self._beside:
            inner = part._pieces() if isinstance(part, Reply) else [flat(part)]
            pieces.append(_tag(kind, name) + varint.written(sum(map(len, inner))))
            pieces += inner
        return pieces


async def encoded(reply: Reply | ProtoMessage) -> bytes:
    """The serialized reply, made in a thread where it is large."""
    if not isinstance(reply, Reply):
        return reply.SerializeToString()
    is_large = not reply.is_plain and reply.nbytes > SMALL
    return await asyncio.to_thread(reply.joined) if is_large else reply.joined()


def flat(part: Array | Piece) -> Piece:
    """Row-major bytes, little-endian; a view where the array is so already."""
    if isinstance(part, (bytes, memoryview)):
        return part
    if not (part.dtype.isnative and LITTLE_ENDIAN):
        part = part.astype(part.dtype.newbyteorder("<"))
    if not part.flags.c_contiguous:
        part = np.ascontiguousarray(part)
    # A view of no elements cannot be cast.
    return part.data.cast("B") if part.size else b""


@cache
def _tag(kind: MessageClass, field: str) -> bytes:
    return varint.written(kind.DESCRIPTOR.fields_by_name[field].number << 3 | LENGTH_DELIMITED)
