"""Tensor messages as numpy arrays and back. Row-major, little-endian; BITS rows each start on a byte."""

from __future__ import annotations

import math

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
    if tensor.dtype not in STORAGE:
        raise InvalidArgument(f"tensor.dtype: number {tensor.dtype} is no known element type")
    shape, storage = tuple(tensor.shape), STORAGE[tensor.dtype]
    stored = _bits_shape(shape) if tensor.dtype == tensor_pb2.D_TYPE_BITS else shape
    expected = math.prod(stored) * storage.itemsize
    data = tensor.data  # each access copies
    if len(data) != expected:
        raise InvalidArgument(f"tensor.data: {len(data)} bytes, but dtype and shape {shape} say {expected}")
    array = np.frombuffer(data, storage).reshape(stored)
    if tensor.dtype == tensor_pb2.D_TYPE_BITS:
        return np.unpackbits(array, axis=-1, count=shape[-1]).view(bool) if shape else array.astype(bool)
    if tensor.dtype == tensor_pb2.D_TYPE_BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


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


def _bits_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], (shape[-1] + 7) // 8) if shape else (1,)
