"""Replies of one tensor without JSON: its bytes alone, or as a NumPy file, and what is known of it in headers."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
import orjson
from google.protobuf.message import Message
from numpy.lib import format as npy

from featsvc.codec import arrays
from featsvc.v1 import tensor_pb2
from rest_shim.errors import HttpError
from rest_shim.reply import blobs
from rest_shim.reply.encode import dtype, plain, rounding, tensor_of
from rest_shim.reply.json_text import JsonText
from rest_shim.request.accept import Form

SHAPE, DTYPE, ROUNDING, LEVELS = (f"X-Featsvc-{name}" for name in ("Shape", "DType", "Rounding", "Levels"))
# More than this in one line is refused by common clients and proxies.
LONGEST_HEADER = 8000


class RawBody:
    """The elements, after the header that their form has."""

    def __init__(self, reply: Message, form: Form) -> None:
        self._prefix = _prefix(reply, form)
        self._blob = blobs.raw(tensor_of(reply))
        self.length = len(self._prefix) + self._blob.nbytes
        self.comes_over_call = self._blob.blocks is None

    def whole(self) -> bytes:
        """All of it."""
        return b"".join((self._prefix, *self._blob.made()))

    async def pieces(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The elements as they come."""
        if self._prefix:
            yield self._prefix
        if self.comes_over_call:
            async for chunk in chunks:
                yield chunk
        else:
            for block in self._blob.made():
                yield bytes(block)


def headers(reply: Message) -> dict[str, str]:
    """Shape and element type of the tensor, what rounding it has cost, and the levels of a pyramid; raises 406 where a
    scale of each channel or a name in the reply is too long for a header."""
    for field, value in reply.ListFields():
        if field.has_presence and isinstance(value, str):
            raise HttpError(406, f"{field.name} is too long for a header: accept {Form.JSON}")
    facts = {SHAPE: orjson.dumps(list(tensor_of(reply).shape)).decode(), DTYPE: dtype(reply)}
    for field, value in reply.ListFields():
        if isinstance(value, tensor_pb2.Rounding):
            facts[ROUNDING] = _line(value)
        elif field.is_repeated:
            facts[LEVELS] = orjson.dumps([plain(each) for each in value]).decode()
    return facts


def _prefix(reply: Message, form: Form) -> bytes:
    """What stands before the elements: nothing, or the header of a NumPy file."""
    if form is not Form.NPY:
        return b""
    tensor, head = tensor_of(reply), io.BytesIO()
    if tensor.dtype == tensor_pb2.D_TYPE_BFLOAT16:
        raise not_as_npy()
    described = npy.header_data_from_array_1_0(np.empty(0, arrays.STORAGE[tensor.dtype]))
    npy.write_array_header_1_0(head, described | {"shape": tuple(tensor.shape)})
    return head.getvalue()


def not_as_npy() -> HttpError:
    """Why there is no such NumPy file."""
    return HttpError(
        406, f"NumPy files have no bfloat16: accept {Form.OCTETS} or {Form.JSON}, or ask for float16"
    )


def _line(value: tensor_pb2.Rounding) -> str:
    line = JsonText(rounding(value)).whole().decode()
    if len(line) > LONGEST_HEADER:
        raise HttpError(
            406,
            f"the scales of so many channels are too long for a header: accept {Form.JSON}, or ask for float16",
        )
    return line
