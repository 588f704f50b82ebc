"""Tensor messages as numpy arrays and back. Row-major, little-endian; BITS rows each start on a byte."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidArgument
from featsvc.v1 import tensor_pb2

# numpy has no bfloat16: its bits come as uint16 and are widened to float32.
STORAGE: dict[int, np.dtype[np.generic]] = {
    tensor_pb2.D_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.D_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.D_TYPE_BFLOAT16: np.dtype("<u2"),
    tensor_pb2.D_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.D_TYPE_INT64: np.dtype("<i8"),
    tensor_pb2.D_TYPE_BOOL: np.dtype("?"),
    tensor_pb2.D_TYPE_BITS: np.dtype("u1"),
    tensor_pb2.D_TYPE_INT8: np.dtype("i1"),
    tensor_pb2.D_TYPE_UINT16: np.dtype("<u2"),
}
DTYPE_OF = {
    "float32": tensor_pb2.D_TYPE_FLOAT32,
    "float16": tensor_pb2.D_TYPE_FLOAT16,
    "uint8": tensor_pb2.D_TYPE_UINT8,
    "int64": tensor_pb2.D_TYPE_INT64,
    "bool": tensor_pb2.D_TYPE_BOOL,
    "int8": tensor_pb2.D_TYPE_INT8,
    "uint16": tensor_pb2.D_TYPE_UINT16,
}


def to_array(tensor: tensor_pb2.Tensor) -> NDArray[np.generic]:
    """The elements with their shape; BITS as bool, BFLOAT16 as float32; read-only where no conversion is needed.

    Raises InvalidArgument where dtype, shape and length do not fit each other.
    """
    array = stored(tensor.dtype, tensor.shape, tensor.data)
    if tensor.dtype == tensor_pb2.D_TYPE_BITS:
        shape = tensor.shape
        return (
            np.unpackbits(array.view(np.uint8), axis=-1, count=shape[-1]).view(bool)
            if shape
            else array.astype(bool)
        )
    return widened(array) if tensor.dtype == tensor_pb2.D_TYPE_BFLOAT16 else array


def stored(dtype: int, shape: Sequence[int], data: bytes | memoryview) -> NDArray[np.generic]:
    """The elements as they travel, a view of `data`: BITS as bytes, BFLOAT16 as uint16; raises as to_array does."""
    expected = nbytes(dtype, shape)
    view = memoryview(data)
    if view.nbytes != expected:
        raise InvalidArgument(
            f"tensor.data: {view.nbytes} bytes, but dtype and shape {list(shape)} say {expected}"
        )
    return np.frombuffer(view, STORAGE[dtype]).reshape(_stored_shape(dtype, shape))


def nbytes(dtype: int, shape: Sequence[int]) -> int:
    """The length of the data of a tensor; raises InvalidArgument for an unknown element type."""
    if dtype not in STORAGE:
        raise InvalidArgument(f"tensor.dtype: number {dtype} is no known element type")
    return math.prod(_stored_shape(dtype, shape)) * STORAGE[dtype].itemsize


def widened(bfloat16: NDArray[np.generic]) -> NDArray[np.float32]:
    """The float32 of which these uint16 are the upper halves."""
    bits = bfloat16.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def to_tensor(array: NDArray[np.generic]) -> tensor_pb2.Tensor:
    """The array as it is; float64 is not sent, so convert it first. Raises InvalidArgument for other element types."""
    dtype = DTYPE_OF.get(array.dtype.name)
    if dtype is None:
        raise InvalidArgument(
            f"a tensor cannot hold {array.dtype.name}; convert it to one of {', '.join(DTYPE_OF)}"
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return tensor_pb2.Tensor(dtype=dtype, shape=array.shape, data=little.tobytes())


def to_bits(array: NDArray[np.bool_]) -> tensor_pb2.Tensor:
    """Booleans packed eight to a byte, most significant first, each row of the last axis from a new byte."""
    return tensor_pb2.Tensor(
        dtype=tensor_pb2.D_TYPE_BITS, shape=array.shape, data=np.packbits(array, axis=-1).tobytes()
    )


def _stored_shape(dtype: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the storage: rows of BITS each take whole bytes."""
    if dtype != tensor_pb2.D_TYPE_BITS:
        return tuple(shape)
    return (*shape[:-1], (shape[-1] + 7) // 8) if shape else (1,)
