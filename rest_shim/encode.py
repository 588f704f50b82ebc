"""gRPC replies as the documented JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pybase64
from google.protobuf.message import Message

from featsvc.twin import arrays
from featsvc.twin.messages import is_array
from featsvc.v1 import sam2_pb2, tensor_pb2
from rest_shim.errors import HttpError

# What the document's bodies do not hold goes into headers.
HEADERS = {"model": "X-Featsvc-Model", "geometry": "X-Featsvc-Geometry"}
SHAPES = {"masks": "masks_shape", "iou_predictions": "iou_shape", "low_res_masks": "low_res_shape"}
FLOAT32_BYTES = 4

Json = dict[str, object]
Encoder = Callable[[Message, int], Json]


def one_tensor(reply: Message, max_bytes: int) -> Json:
    """A reply with one tensor, whose shape is called `shape`."""
    body: Json = {}
    for field in reply.DESCRIPTOR.fields:
        value = getattr(reply, field.name)
        if isinstance(value, tensor_pb2.Tensor):
            body |= {field.name: encoded(value, max_bytes), "shape": list(value.shape)}
        elif field.name not in HEADERS:
            body[field.name] = value
    return body


def prompt_masks(reply: Message, max_bytes: int) -> Json:
    """The masks of the one prompt that a REST body can hold."""
    assert isinstance(reply, sam2_pb2.PredictMasksResponse)
    result = reply.results[0]
    elements = sum(math.prod(getattr(result, name).shape) for name in SHAPES)
    _check_size(elements * FLOAT32_BYTES, max_bytes)
    body: Json = {}
    for name, shape_name in SHAPES.items():
        tensor = getattr(result, name)
        body |= {name: encoded(tensor, max_bytes), shape_name: list(tensor.shape)}
    return body


def auto_masks(reply: Message, max_bytes: int) -> Json:
    """All masks, each with what is known of it."""
    assert isinstance(reply, sam2_pb2.GenerateMasksResponse)
    bitmaps = sum(math.prod(mask.bitmap.shape) for mask in reply.masks if mask.HasField("bitmap"))
    _check_size(bitmaps * FLOAT32_BYTES, max_bytes)
    return {"masks": [_mask(mask, max_bytes) for mask in reply.masks], "num_masks": len(reply.masks)}


def headers(reply: Message) -> dict[str, str]:
    """Which model answered, and how the grid lies on the picture."""
    found: dict[str, str] = {}
    for field in reply.DESCRIPTOR.fields:
        value = getattr(reply, field.name) if field.name in HEADERS else None
        if isinstance(value, Message):
            found[HEADERS[field.name]] = orjson.dumps(_plain(value)).decode()
        elif value:
            found[HEADERS[field.name]] = str(value)
    return found


def encoded(tensor: tensor_pb2.Tensor, max_bytes: int) -> str:
    """The elements as base64 of float32."""
    _check_size(math.prod(tensor.shape) * FLOAT32_BYTES, max_bytes)
    if tensor.dtype == tensor_pb2.D_TYPE_FLOAT32:
        return pybase64.b64encode_as_string(tensor.data)
    values = np.ascontiguousarray(arrays.to_array(tensor).astype("<f4", copy=False))
    return pybase64.b64encode_as_string(values.data)


def _mask(mask: sam2_pb2.Mask, max_bytes: int) -> Json:
    known = {
        field.name: _value(getattr(mask, field.name))
        for field in mask.DESCRIPTOR.fields
        if field.containing_oneof is None
    }
    return _segmentation(mask, max_bytes) | known


def _segmentation(mask: sam2_pb2.Mask, max_bytes: int) -> Json:
    if mask.WhichOneof("segmentation") != "rle":
        return {
            "segmentation": encoded(mask.bitmap, max_bytes),
            "segmentation_shape": list(mask.bitmap.shape),
        }
    size = [mask.rle.height, mask.rle.width]
    coded = mask.rle.WhichOneof("runs") == "coco"
    counts = mask.rle.coco if coded else list(mask.rle.lengths.counts)
    return {"segmentation": {"size": size, "counts": counts}, "segmentation_shape": size}


def _plain(message: Message) -> object:
    """A small message as JSON: an array where the contract says so."""
    fields = message.DESCRIPTOR.fields
    if is_array(message.DESCRIPTOR):
        return [_value(getattr(message, field.name)) for field in fields]
    return {field.name: _value(getattr(message, field.name)) for field in fields}


def _value(value: Any) -> object:  # Any: the value of some field
    if isinstance(value, Message):
        return _plain(value)
    return value if isinstance(value, int | float | str) else [_value(each) for each in value]


def _check_size(nbytes: int, max_bytes: int) -> None:
    if nbytes > max_bytes:
        raise HttpError(
            413,
            f"the reply holds {nbytes} bytes of float32, at most {max_bytes} are sent: "
            "ask for less, for masks as run lengths (coco_rle), or over gRPC",
        )
