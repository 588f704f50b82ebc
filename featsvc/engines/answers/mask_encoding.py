"""Masks in the form that the reply carries: a bit a pixel, run lengths, PNG files, one map of labels, or floats."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.engines.answers.limits import bitmap_bytes, float_bytes, label_bytes
from featsvc.errors import invalid_field
from featsvc.v1.schema import MaskEncoding
from featsvc.work.item import Way
from featsvc.work.results import Bits, Floats, HeightWidth, LabelMap, Png, Rle

Bitmaps = NDArray[np.bool_]
Scores = NDArray[np.float32]
NBYTES: Mapping[MaskEncoding, Callable[[int, int, int], int]] = {
    MaskEncoding.BITS: bitmap_bytes,
    MaskEncoding.FLOAT32: lambda *shape: float_bytes(shape),
    MaskEncoding.LABEL_MAP: lambda count, height, width: label_bytes(height, width),
}
"""Bytes of n masks of H x W that share one label map, where these alone say how many."""


MOST_LABELS = np.iinfo(np.uint16).max


def in_json(encoding: MaskEncoding, way: Way) -> MaskEncoding:
    """What masks become in the caller's JSON."""
    floats = encoding is MaskEncoding.BITS and way.json is not None and way.json.float_masks
    return MaskEncoding.FLOAT32 if floats else encoding


def check_labels(masks: int) -> None:
    """Refuses more masks than a map of labels has numbers for."""
    if masks > MOST_LABELS:
        message = f"label_map has numbers for {MOST_LABELS} masks, and more were found: take coco_rle or bits"
        raise invalid_field("params.mask_encoding", f"{message}, or a higher pred_iou_thresh")


def bits(masks: Bitmaps) -> Bits:
    """Masks … x W, each row packed from its left into bytes of its own."""
    return Bits(np.packbits(masks, axis=-1), masks.shape)


def floats(masks: Bitmaps) -> Floats:
    """The same shape, 0 and 1."""
    return masks.astype(np.float32)


def png(mask: Bitmaps) -> Png:
    """H x W as a file of one bit a pixel."""
    height, width = mask.shape
    # Pillow's mode 1 has the same bits in the same order.
    picture = Image.frombytes("1", (width, height), np.packbits(mask, axis=-1).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Png(file.getvalue())


def worst_first(scores: Scores) -> list[int]:
    """Indices in the order in which masks are drawn over each other; of equal ones the first is drawn last."""
    order: list[int] = np.argsort(-scores, kind="stable")[::-1].tolist()
    return order


def label_map(order: Iterable[int], mask_of: Callable[[int], Bitmaps], size: HeightWidth) -> LabelMap:
    """H x W of masks drawn in this order: 0 where there is none, else 1 + the index of the last."""
    labels = np.zeros(size, np.uint16)
    for index in order:
        labels[mask_of(index)] = index + 1
    return labels


def nbytes(pixels: Bits | Floats | Rle | Png | None) -> int:
    """What a mask takes in a message."""
    match pixels:
        case Bits():
            return pixels.data.nbytes
        case Rle():
            return len(pixels.counts)
        case Png():
            return len(pixels.content)
        case None:
            return 0
        case _:
            return pixels.nbytes
