"""Base64 tensors and masks of REST bodies as arrays and back."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featsvc.codec import arrays
from featsvc.errors import InvalidArgument
from featsvc.twin.messages import numbers
from featsvc.v1 import tensor_pb2
from featsvc_client.errors import damaged
from featsvc_client.pixels import Png
from featsvc_client.results import as_float32, beside_channels
from featsvc_client.rle import from_coco

FLOAT32 = np.dtype("<f4")
DTYPES = numbers(tensor_pb2.DType.DESCRIPTOR)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decoded(encoded: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """The float32 tensor of that shape; writable."""
    return elements(content(encoded), shape).view(np.float32)


def encoded(array: ArrayLike) -> tuple[str, list[int]]:
    """The tensor as base64 float32, and its shape."""
    values = np.asarray(array, FLOAT32)
    return base64.b64encode(values.tobytes()).decode(), list(values.shape)


def content(encoded: str) -> memoryview:
    """The bytes of a base64 text; writable."""
    try:
        return memoryview(bytearray(base64.b64decode(encoded, validate=True)))
    except (binascii.Error, ValueError) as error:
        raise damaged(f"no base64: {error}") from error


def elements(data: memoryview, shape: Sequence[int], dtype: str = "float32") -> NDArray[np.generic]:
    """The elements as they were sent, bfloat16 as uint16."""
    try:
        return arrays.stored(DTYPES.get(dtype, 0), tuple(shape), data)
    except InvalidArgument as error:
        raise damaged(f"no {dtype} tensor of shape {tuple(shape)}: {error.message}") from error


# Any: JSON.
def features(
    sent: NDArray[np.generic], rounding: Mapping[str, Any] | None, *, channels_first: bool
) -> NDArray[np.float32]:
    """Features as float32; integers are multiplied by the scale of their channel."""
    written = None if rounding is None else rounding.get("scale")
    if written is None:
        if sent.dtype == np.int8:
            raise damaged("int8 features without their scale")
        return as_float32(sent, None)
    scale = np.frombuffer(content(written), FLOAT32)
    shaped = scale.reshape(-1, 1, 1) if channels_first and sent.ndim == 3 else scale
    return as_float32(sent, beside_channels(shaped, sent.shape))


def from_json(header: str) -> Any:  # Any: JSON
    """The value of a header."""
    try:
        return json.loads(header)
    except ValueError as error:
        raise damaged(f"a header that is no JSON: {error}") from error


# Any: JSON.
def mask(sent: str | Mapping[str, Any], shape: Sequence[int]) -> NDArray[np.bool_]:
    """A mask H x W in any encoding but that of a label map."""
    if isinstance(sent, Mapping):
        return from_coco(sent).decoded()
    data = content(sent)
    if data[: len(PNG_SIGNATURE)] == PNG_SIGNATURE:
        return Png(bytes(data)).decoded()
    return masks(data, shape).astype(np.float32, copy=False) > 0


def masks(data: memoryview, shape: Sequence[int]) -> NDArray[np.bool_] | NDArray[np.float32]:
    """Masks ... x H x W: bool where they were sent as bits, else float32. Their lengths tell the two apart."""
    if len(data) == math.prod(shape) * FLOAT32.itemsize:
        return elements(data, shape).view(np.float32)
    packed = elements(data, shape, "bits").view(np.uint8)
    return np.unpackbits(packed, axis=-1, count=shape[-1]).view(np.bool_)


# Any: JSON.
def label_map(reply: Mapping[str, Any]) -> NDArray[np.uint16] | None:
    """The numbers of the masks, H x W, where they were asked for so: 0 is none, else 1 + the index."""
    if reply.get("label_map") is None:
        return None
    return elements(content(reply["label_map"]), reply["label_map_shape"], "uint16").view(np.uint16)
