"""Results of the engines as parts of reply messages; the arrays stand beside, not yet copied."""

from __future__ import annotations

from dataclasses import fields
from functools import cache, singledispatch
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message as ProtoMessage
from numpy.typing import NDArray

from featsvc.server.calls.reply import Reply, flat
from featsvc.v1 import image_pb2, sam2_pb2, tensor_pb2
from featsvc.work.results import Bits, Geometry, Mask, Png, PromptMasks, Result, Rle, Rounding

Beside: TypeAlias = dict[str, Any]  # Any: what `Reply` takes beside its message
# protobuf's compiled and pure descriptors share no type.
Descriptor: TypeAlias = Any
SMALL = 16 * 1024
"""Bytes up to which copying an array into its message costs less than what keeps it beside."""


def of_result(result: Result, message: Any, *, as_head: bool = False) -> Reply:
    """The reply with this result, whose fields are called as those of the message; the message has some already.

    `as_head` leaves out the elements of its tensors. Any: a generated message.
    """
    kind: Any = type(result)  # Any: mypy takes no dataclass for hashable
    scalars, parts = _names(kind, message.DESCRIPTOR)
    for name in scalars:
        setattr(message, name, getattr(result, name))
    beside: Beside = {}
    for name in parts:
        value = getattr(result, name)
        if isinstance(value, np.ndarray):
            dtype = getattr(result, "dtype", "")
            beside[name] = Reply(tensor_head(value, dtype)) if as_head else tensor(value, dtype)
        elif isinstance(value, tuple):
            beside[name] = [written(each) for each in value]
        elif value is not None:
            beside[name] = written(value)
    return Reply(message, **beside)


def count_of(result: Result) -> int:
    """Messages of the lists in a result, about."""
    return sum(len(value) for value in vars(result).values() if isinstance(value, tuple))


@cache
def _names(result: type[Result], message: Descriptor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that both classes have: those with one value, and those that hold messages."""
    known = {field.name for field in fields(result)} | {
        name for name, value in vars(result).items() if isinstance(value, property)
    }
    shared = [field for field in message.fields if field.name in known]
    return (
        tuple(field.name for field in shared if field.message_type is None),
        tuple(field.name for field in shared if field.message_type is not None),
    )


@singledispatch
def written(value: object) -> Reply | ProtoMessage:
    """A part of a result as the message of the reply's field."""
    raise TypeError(f"{type(value).__name__} has no message")


def tensor(array: NDArray[np.generic], dtype: str = "") -> Reply | tensor_pb2.Tensor:
    """The array; `dtype` is the element type where numpy has none of that name."""
    head = tensor_head(array, dtype)
    if array.nbytes > SMALL:
        return Reply(head, data=array)
    head.data = bytes(flat(array))
    return head


def tensor_head(array: NDArray[np.generic], dtype: str = "") -> tensor_pb2.Tensor:
    """All of the array but its elements."""
    number: Any = _number(dtype or array.dtype)  # Any: the stubs want a class that no value has
    return tensor_pb2.Tensor(dtype=number, shape=array.shape)


@cache
def _number(dtype: str | np.dtype[np.generic]) -> int:
    # numpy makes the name anew each time.
    name = dtype.name if isinstance(dtype, np.dtype) else dtype
    return tensor_pb2.DType.Value(f"D_TYPE_{name.upper()}")


@written.register
def _geometry(result: Geometry) -> image_pb2.Geometry:
    """How the grid lies on the picture."""
    return image_pb2.Geometry(**vars(result))


@written.register
def _rounding(result: Rounding) -> Reply:
    """What a smaller element type has changed."""
    message = tensor_pb2.Rounding(largest_error=result.largest_error, mean_error=result.mean_error)
    return Reply(message) if result.scale is None else Reply(message, scale=tensor(result.scale))


@written.register
def _prompt_masks(result: PromptMasks) -> Reply:
    """Masks of one prompt, as the engine has written them."""
    beside: Beside = {"iou_predictions": tensor(result.iou_predictions)}
    if result.low_res_masks is not None:
        beside["low_res_masks"] = tensor(result.low_res_masks)
    if result.label_map is not None:
        beside["label_map"] = tensor(result.label_map)
    message = sam2_pb2.PromptMasks()
    match result.masks:
        case Bits() | np.ndarray():
            beside["masks"] = _bitmap(result.masks)
        case tuple():
            message.rle.extend(_rle(each) for each in result.masks if isinstance(each, Rle))
            beside["png"] = [each.content for each in result.masks if isinstance(each, Png)]
    return Reply(message, **beside)


@written.register
def _mask(result: Mask) -> Reply:
    """One automatic mask."""
    message = sam2_pb2.Mask(
        area=result.area,
        bbox=_rectangle(result.bbox),
        predicted_iou=result.predicted_iou,
        point_coords=[sam2_pb2.Point(x=x, y=y) for x, y in result.point_coords],
        stability_score=result.stability_score,
        crop_box=_rectangle(result.crop_box),
    )
    match result.segmentation:
        case Rle():
            message.rle.CopyFrom(_rle(result.segmentation))
        case Png():
            return Reply(message, png=result.segmentation.content)
        case Bits() | np.ndarray():
            return Reply(message, bitmap=_bitmap(result.segmentation))
    return Reply(message)


def _bitmap(pixels: Bits | NDArray[np.float32]) -> Reply | tensor_pb2.Tensor:
    if isinstance(pixels, Bits):
        return Reply(tensor_pb2.Tensor(dtype=tensor_pb2.D_TYPE_BITS, shape=pixels.shape), data=pixels.data)
    return tensor(pixels)


def _rle(result: Rle) -> sam2_pb2.Rle:
    height, width = result.size
    if isinstance(result.counts, str):
        return sam2_pb2.Rle(coco=result.counts, height=height, width=width)
    return sam2_pb2.Rle(lengths=sam2_pb2.RunLengths(counts=result.counts), height=height, width=width)


def _rectangle(values: tuple[float, float, float, float]) -> sam2_pb2.Rectangle:
    x, y, width, height = values
    return sam2_pb2.Rectangle(x=x, y=y, width=width, height=height)
