"""Bytes of a reply: in blocks, so that no step of work is long, and as base64 where JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pybase64

from featsvc.codec import arrays
from featsvc.v1 import tensor_pb2

# A step of work on so many bytes takes about a millisecond.
BLOCK_BYTES = 1024 * 1024
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Blob:
    """Bytes that a reply holds: `blocks` makes them, or they are still to come over the call."""

    nbytes: int
    blocks: Callable[[], Iterable[bytes | memoryview]] | None

    def made(self) -> Iterable[bytes | memoryview]:
        """The blocks, where they are not still to come."""
        if self.blocks is None:
            raise TypeError("these bytes come over the call")
        return self.blocks()


def whole(content: bytes) -> Blob:
    """Bytes that are there."""
    return Blob(len(content), partial(_cut, content))


def raw(tensor: tensor_pb2.Tensor) -> Blob:
    """The elements as they are; where the message leaves them out, they come later."""
    count, content = nbytes(tensor), tensor.data
    return whole(content) if content or not count else Blob(count, None)


def floats(tensor: tensor_pb2.Tensor) -> Blob:
    """The elements as float32; bits become 0 and 1 block by block, for that makes them 32 times as many bytes."""
    if tensor.dtype != tensor_pb2.D_TYPE_BITS:
        return raw(tensor)
    count = math.prod(tensor.shape) * FLOAT32_BYTES
    return Blob(count, partial(_unpacked, tensor.data, tuple(tensor.shape)))


def nbytes(tensor: tensor_pb2.Tensor) -> int:
    """What dtype and shape say of the length of the data."""
    shape = tuple(tensor.shape)
    if tensor.dtype == tensor_pb2.D_TYPE_BITS:
        return math.prod(shape[:-1]) * _row_bytes(shape)
    return math.prod(shape) * arrays.STORAGE[tensor.dtype].itemsize


class Base64:
    """base64 of bytes that come in blocks of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, block: bytes | memoryview) -> bytes:
        """The text up to here: three bytes are four characters, so that up to two bytes wait for the next block."""
        view = memoryview(block)
        missing = -len(self._rest) % 3
        head = self._rest + bytes(view[:missing])
        if len(head) % 3:
            self._rest = head
            return b""
        end = missing + (len(view) - missing) // 3 * 3
        self._rest = bytes(view[end:])
        body = pybase64.b64encode(view[missing:end])
        return pybase64.b64encode(head) + body if head else body

    def end(self) -> bytes:
        """The rest of the text."""
        return pybase64.b64encode(self._rest)


def base64_length(count: int) -> int:
    """Characters of base64 for so many bytes."""
    return (count + 2) // 3 * 4


def base64(blob: Blob) -> Iterator[bytes]:
    """The base64 of a blob, in pieces."""
    encoder = Base64()
    for block in blob.made():
        yield encoder.of(block)
    yield encoder.end()


def _cut(content: bytes) -> Iterator[bytes | memoryview]:
    if len(content) <= BLOCK_BYTES:
        yield content
        return
    view = memoryview(content)
    for start in range(0, len(view), BLOCK_BYTES):
        yield view[start : start + BLOCK_BYTES]


def _unpacked(packed: bytes, shape: tuple[int, ...]) -> Iterator[memoryview]:
    width = shape[-1]
    rows = np.frombuffer(packed, np.uint8).reshape(-1, _row_bytes(shape))
    step = max(1, BLOCK_BYTES // (width * FLOAT32_BYTES))
    for start in range(0, len(rows), step):
        bits = np.unpackbits(rows[start : start + step], axis=-1, count=width)
        yield bits.astype("<f4").reshape(-1).view(np.uint8).data


def _row_bytes(shape: tuple[int, ...]) -> int:
    return (shape[-1] + 7) // 8
