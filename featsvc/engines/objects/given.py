"""Masks as their caller has them: boxes, bits, run lengths, PNG files or a map of numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from featsvc.codec.mask_pictures import inside
from featsvc.codec.rle import columns, from_text
from featsvc.engines.answers.mask_encoding import Bitmaps
from featsvc.engines.running.steps import step
from featsvc.errors import InvalidArgument, InvalidFields, invalid_field
from featsvc.v1.schema import Box, DType, ObjectSource, Rle
from featsvc.v1.schema import Tensor as WireTensor
from featsvc.work.results import HeightWidth

NUMBERS: Mapping[DType, str] = {
    DType.FLOAT32: "<f4",
    DType.FLOAT16: "<f2",
    DType.UINT8: "u1",
    DType.INT64: "<i8",
    DType.BOOL: "u1",
    DType.INT8: "i1",
    DType.UINT16: "<u2",
}
"""Element types that numpy has."""
PER_BYTE = 8


def count_of(source: ObjectSource) -> int:
    """How many masks there are; of a map of numbers that is seen only when it is read."""
    if source.bitmaps is not None:
        return source.bitmaps.shape[0] if source.bitmaps.shape else 0
    return len(source.boxes) + len(source.rle) + len(source.png)


def masks_of(source: ObjectSource, size: HeightWidth, most: int) -> Iterator[Bitmaps]:
    """Each mask, H x W. Raises InvalidFields where one does not fit the picture, or there are over `most`."""
    if source.bitmaps is not None:
        yield from _bitmaps(source.bitmaps, size)
    elif source.label_map is not None:
        yield from _labelled(source.label_map, size, most)
    for index, box in enumerate(source.boxes):
        yield _filled(box, size, f"source.boxes[{index}]")
    for index, rle in enumerate(source.rle):
        yield _from_runs(rle, size, f"source.rle[{index}]")
    for index, content in enumerate(source.png):
        yield _from_png(content, size, f"source.png[{index}]")


def _filled(box: Box, size: HeightWidth, field: str) -> Bitmaps:
    height, width = size
    left, top = max(0, math.floor(box.x0)), max(0, math.floor(box.y0))
    right, bottom = min(width, math.ceil(box.x1)), min(height, math.ceil(box.y1))
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        message = "the second corner must lie right of and below the first: [x0, y0, x1, y1]"
        raise invalid_field(field, message)
    if left >= right or top >= bottom:
        raise invalid_field(field, f"has no part in the picture of {width} x {height} pixels")
    mask = np.zeros(size, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _from_runs(rle: Rle, size: HeightWidth, field: str) -> Bitmaps:
    _check_size((rle.height, rle.width), size, field)
    try:
        lengths = rle.lengths
        counts = from_text(rle.coco or "") if lengths is None else np.array(lengths.counts, np.int64)
        return columns(counts, *size).T
    except (InvalidArgument, UnicodeEncodeError, ValueError) as error:
        raise invalid_field(field, f"are no run lengths of a mask: {error}") from None


def _from_png(content: bytes, size: HeightWidth, field: str) -> Bitmaps:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            # Before any pixel is made: a small file may say that it has very many.
            _check_size((picture.height, picture.width), size, field)
            return inside(picture)
    except InvalidFields:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise invalid_field(field, "is no PNG file that can be read") from None


def _bitmaps(tensor: WireTensor, size: HeightWidth) -> Iterator[Bitmaps]:
    field = "source.bitmaps"
    if len(tensor.shape) != 3:  # masks, height, width
        raise invalid_field(field, f"its shape is {_shown(tensor.shape)}: give masks x height x width")
    _check_size((tensor.shape[1], tensor.shape[2]), size, field)
    if tensor.dtype is not DType.BITS:
        for plane in _numbers(tensor, field):
            yield plane > 0
        return
    rows = math.ceil(size[1] / PER_BYTE)
    _check_bytes(tensor, tensor.shape[0] * size[0] * rows, field)
    packed = np.frombuffer(tensor.data, np.uint8).reshape(tensor.shape[0], size[0], rows)
    for plane in packed:
        yield np.unpackbits(plane, axis=-1, count=size[1]).view(np.bool_)


def _labelled(tensor: WireTensor, size: HeightWidth, most: int) -> Iterator[Bitmaps]:
    field = "source.label_map"
    if len(tensor.shape) != 2:  # height, width
        raise invalid_field(field, f"its shape is {_shown(tensor.shape)}: give height x width")
    _check_size((tensor.shape[0], tensor.shape[1]), size, field)
    labels = _numbers(tensor, field)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise invalid_field(field, "holds values that are not finite: give 0 where there is no object")
    names = np.unique(labels)
    names = names[names != 0]
    if len(names) > most:
        raise invalid_field(field, f"has {len(names)} objects, at most {most} (--max-objects)")
    for name in names:
        step()
        yield labels == name


def _numbers(tensor: WireTensor, field: str) -> NDArray[np.generic]:
    if tensor.dtype not in NUMBERS:
        raise invalid_field(
            field, f"is {tensor.dtype.value}: give {', '.join(each.value for each in NUMBERS)}"
        )
    dtype = np.dtype(NUMBERS[tensor.dtype])
    _check_bytes(tensor, math.prod(tensor.shape) * dtype.itemsize, field)
    return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)


def _check_bytes(tensor: WireTensor, expected: int, field: str) -> None:
    if len(tensor.data) != expected:
        raise invalid_field(field, f"holds {len(tensor.data)} bytes; its shape needs {expected}")


def _check_size(own: HeightWidth, size: HeightWidth, field: str) -> None:
    if own != size:
        message = f"is of {own[1]} x {own[0]} pixels, and the picture of {size[1]} x {size[0]}"
        raise invalid_field(field, message)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "empty"
