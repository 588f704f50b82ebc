"""Run lengths of masks as engines have them: often of a part of the picture, and turned by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featsvc.codec.rle import Counts, Places, changes, columns, lengths, text
from featsvc.work.results import HeightWidth, Rle

Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two just outside."""
Bitmap = NDArray[np.bool_]


def run_lengths(mask: Bitmap) -> Counts:
    """Run lengths of H x W booleans."""
    height, width = mask.shape
    return run_lengths_within(mask, (0, 0, width, height), (height, width))


def run_lengths_within(part: Bitmap, box: Box, size: HeightWidth) -> Counts:
    """Run lengths of a mask of height and width `size` that is empty but for the part in the box."""
    height, width = size
    if not part.size:
        return np.array([height * width])
    x0, y0, _, y1 = box
    is_whole = y1 - y0 == height
    edges = changes(_columns(part).ravel()) + x0 * height if is_whole else _edges(part, box, height)
    return lengths(edges, height * width)


def _edges(part: Bitmap, box: Box, height: int) -> Places:
    """Where runs begin and end of a part that leaves rows out, so that none goes on into the next column."""
    x0, y0, _, y1 = box
    rows = y1 - y0 + 1
    # A row of background below ends the run of each column.
    padded = np.pad(_columns(part), ((0, 0), (0, 1)))
    column, row = np.divmod(changes(padded.ravel()), rows)
    return (column + x0) * height + row + y0


def _columns(mask: Bitmap) -> NDArray[np.uint8]:
    """W x H. OpenCV transposes in blocks, many times faster than a strided copy."""
    return np.asarray(cv2.transpose(mask.view(np.uint8)), np.uint8)


def area(counts: Counts) -> int:
    """Pixels of the mask."""
    return int(counts[1::2].sum())


def bitmap(counts: Counts, height: int, width: int) -> Bitmap:
    """The mask itself, H x W."""
    mask: Bitmap = cv2.transpose(columns(counts, height, width).view(np.uint8)).view(np.bool_)
    return mask


def uncompressed(counts: Counts, height: int, width: int) -> Rle:
    """COCO's uncompressed form."""
    return Rle(tuple(counts.tolist()), (height, width))


def compressed(counts: Counts, height: int, width: int) -> Rle:
    """COCO's text form."""
    return Rle(text(counts), (height, width))
