"""Results of the engines as parts of reply messages. Large ones are encoded in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.engines.results import Bits, Geometry, Mask, Png, PromptMasks, Rle
from featsvc.twin.arrays import to_tensor
from featsvc.v1 import image_pb2, sam2_pb2, tensor_pb2

P = ParamSpec("P")
T = TypeVar("T")
# Copying less than this holds the event loop for well under a millisecond.
SMALL = 1024 * 1024


async def encoded(nbytes: int, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`encode(…)`, off the event loop where it copies many bytes."""
    return await asyncio.to_thread(encode, *args, **kwargs) if nbytes > SMALL else encode(*args, **kwargs)


async def tensor(array: NDArray[np.generic]) -> tensor_pb2.Tensor:
    """The array as a message."""
    return await encoded(array.nbytes, to_tensor, array)


def geometry(result: Geometry) -> image_pb2.Geometry:
    """How the grid lies on the picture."""
    return image_pb2.Geometry(**asdict(result))


def prompt_masks(result: PromptMasks) -> sam2_pb2.PromptMasks:
    """Masks of one prompt, as the engine has written them."""
    message = sam2_pb2.PromptMasks(iou_predictions=to_tensor(result.iou_predictions))
    for tensor, array in (
        (message.low_res_masks, result.low_res_masks),
        (message.label_map, result.label_map),
    ):
        if array is not None:
            tensor.CopyFrom(to_tensor(array))
    match result.masks:
        case Bits() | np.ndarray():
            message.masks.CopyFrom(_bitmap(result.masks))
        case tuple():
            message.rle.extend(_rle(each) for each in result.masks if isinstance(each, Rle))
            message.png.extend(each.content for each in result.masks if isinstance(each, Png))
    return message


def mask(result: Mask) -> sam2_pb2.Mask:
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
            message.png = result.segmentation.content
        case Bits() | np.ndarray():
            message.bitmap.CopyFrom(_bitmap(result.segmentation))
    return message


def _bitmap(pixels: Bits | NDArray[np.float32]) -> tensor_pb2.Tensor:
    if isinstance(pixels, Bits):
        return tensor_pb2.Tensor(dtype=tensor_pb2.D_TYPE_BITS, shape=pixels.shape, data=pixels.data.tobytes())
    return to_tensor(pixels)


def _rle(result: Rle) -> sam2_pb2.Rle:
    height, width = result.size
    if isinstance(result.counts, str):
        return sam2_pb2.Rle(coco=result.counts, height=height, width=width)
    return sam2_pb2.Rle(lengths=sam2_pb2.RunLengths(counts=result.counts), height=height, width=width)


def _rectangle(values: tuple[float, float, float, float]) -> sam2_pb2.Rectangle:
    x, y, width, height = values
    return sam2_pb2.Rectangle(x=x, y=y, width=width, height=height)
