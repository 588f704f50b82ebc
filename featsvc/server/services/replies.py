"""Results of the engines as parts of reply messages; the arrays stand beside, not yet copied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cache, singledispatch
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message as ProtoMessage
from numpy.typing import NDArray

from featsvc.server.calls.reply import Reply, flat
from featsvc.twin.messages import numbers
from featsvc.v1 import clip_pb2, image_pb2, objects_pb2, sam2_pb2, tensor_pb2
from featsvc.work.results import (
    Bits,
    DescribedObject,
    EmbeddedImage,
    Features,
    Geometry,
    Mask,
    ObjectMatches,
    ObjectVectors,
    Png,
    PromptMasks,
    Pyramid,
    PyramidLevel,
    Result,
    Rle,
    Rounding,
)

Beside: TypeAlias = dict[str, Any]  # Any: what `Reply` takes beside its message
MOST_NUMBERS, NUMBERS_OF_MESSAGE = 8000, 250
"""So many numbers, of which a message costs as much as so many, take about a millisecond."""
GRANULARITIES = numbers(objects_pb2.MaskGranularity.DESCRIPTOR)
FACTS = ("model", "image_digest")
"""What replies say beside the result, where they have such fields."""
SMALL = 16 * 1024
"""Bytes up to which copying an array into its message costs less than what keeps it beside."""


class ReplyClass:
    """A message that has the fields of a result, and facts beside them.

    Raises LookupError where it has others. Any: a generated class, and one of results.
    """

    def __init__(self, message: Any, result: Any, facts: Collection[str]) -> None:
        self._message = message
        known = {field.name for field in fields(result)} | {
            name
            for kind in result.__mro__
            for name, value in vars(kind).items()
            if isinstance(value, property)
        }
        names = {field.name: field for field in message.DESCRIPTOR.fields}
        if missing := names.keys() - known - {*facts}:
            raise LookupError(
                f"{result.__name__} lacks {', '.join(sorted(missing))} of {message.DESCRIPTOR.name}"
            )
        self._facts = tuple(name for name in facts if name in names)
        shared = [field for name, field in names.items() if name in known]
        self._scalars = tuple(field.name for field in shared if field.message_type is None)
        self._messages = tuple(field.name for field in shared if field.message_type is not None)

    def written(self, result: Result, facts: Mapping[str, str], *, without_data: bool = False) -> Reply:
        """The reply, perhaps without the elements of its tensors."""
        message = self._message(**{name: facts[name] for name in self._facts})
        for name in self._scalars:
            match getattr(result, name):
                case None:
                    pass
                case tuple() as several:
                    getattr(message, name).extend(several)
                case scalar:
                    setattr(message, name, scalar)
        beside: Beside = {}
        for name in self._messages:
            value = getattr(result, name)
            if isinstance(value, np.ndarray):
                dtype = result.dtype if isinstance(result, (Features, EmbeddedImage, Pyramid)) else ""
                beside[name] = Reply(tensor_head(value, dtype)) if without_data else tensor(value, dtype)
            elif isinstance(value, tuple):
                beside[name] = [written(each) for each in value]
            elif value is not None:
                beside[name] = written(value)
        return Reply(message, **beside)


def takes_long(result: Result) -> bool:
    """Whether writing the lists in a result would hold up the event loop."""
    return sum(map(_numbers, vars(result).values())) > MOST_NUMBERS


def _numbers(value: object) -> int:
    """What is written one by one, in numbers."""
    match value:
        case tuple():
            return sum(NUMBERS_OF_MESSAGE + _numbers(each) for each in value)
        case Mask():
            return _numbers(value.segmentation)
        case DescribedObject():
            return _numbers(value.mask)
        case PromptMasks():
            return _numbers(value.masks)
        case Rle(counts=tuple()):
            return len(value.counts)
    return 0


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
def _pyramid_level(result: PyramidLevel) -> Reply:
    """The tiles of one size."""
    return Reply(clip_pb2.PyramidLevel(**vars(result)))


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


@written.register
def _object(result: DescribedObject) -> Reply:
    """One object of a picture."""
    list_of: Beside = {} if result.granularity is None else {"granularity": GRANULARITIES[result.granularity]}
    place = objects_pb2.SceneObject(level=result.level, parent=result.parent, **list_of)
    return Reply(place, mask=written(result.mask))


@written.register
def _object_matches(result: ObjectMatches) -> Reply:
    """The objects that fit one text or vector."""
    matches = [objects_pb2.ObjectMatch(object=each.object, score=each.score) for each in result.matches]
    return Reply(objects_pb2.ObjectMatches(matches=matches))


@written.register
def _object_vectors(result: ObjectVectors) -> Reply:
    """The vectors of all objects in one way."""
    beside: Beside = {"vectors": tensor(result.vectors, result.dtype)}
    if result.rounding is not None:
        beside["rounding"] = written(result.rounding)
    return Reply(objects_pb2.ObjectVectors(model=result.model), **beside)


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
