"""Run lengths of masks: column-major, beginning with background, as COCO has them. Vectorised."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featsvc.engines.results import Rle

Counts = NDArray[np.int64]
Places = NDArray[np.intp]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two just outside."""
Bitmap = NDArray[np.bool_]

FIVE_BITS = 0x1F
MORE = 0x20
SIGN = 0x10
FIRST_LETTER = 48


def run_lengths(mask: Bitmap) -> Counts:
    """Run lengths of H x W booleans."""
    height, width = mask.shape
    return run_lengths_within(mask, (0, 0, width, height), (height, width))


def run_lengths_within(part: Bitmap, box: Box, size: tuple[int, int]) -> Counts:
    """Run lengths of a mask of height and width `size` that is empty but for the part in the box."""
    height, width = size
    if not part.size:
        return np.array([height * width])
    x0, y0, _, y1 = box
    edges = _whole_columns(part) + x0 * height if y1 - y0 == height else _edges(part, box, height)
    # A mask that ends inside ends there; no run of nothing follows.
    ends = [] if edges.size and edges[-1] == height * width else [height * width]
    places: Counts = np.concatenate([[0], edges, ends]).astype(np.int64)
    return places[1:] - places[:-1]


def _whole_columns(mask: Bitmap) -> Places:
    """Where runs of the mask begin and end, one column after the other."""
    return _changes(_columns(mask).ravel())


def _edges(part: Bitmap, box: Box, height: int) -> Places:
    """The same for a part that leaves rows out, so that no run goes on into the next column."""
    x0, y0, _, y1 = box
    rows = y1 - y0 + 1
    # A row of background below ends the run of each column.
    columns = np.pad(_columns(part), ((0, 0), (0, 1)))
    column, row = np.divmod(_changes(columns.ravel()), rows)
    return (column + x0) * height + row + y0


def _columns(mask: Bitmap) -> NDArray[np.uint8]:
    """W x H. OpenCV transposes in blocks, many times faster than a strided copy."""
    return np.asarray(cv2.transpose(mask.view(np.uint8)), np.uint8)


def _changes(flat: NDArray[np.uint8]) -> Places:
    """Where values differ from the one before, beginning with background, and the end if that is inside."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first, last = [0] if flat.size and flat[0] else [], [flat.size] if flat.size and flat[-1] else []
    return np.concatenate([first, changes, last]).astype(np.intp)


def area(counts: Counts) -> int:
    """Pixels of the mask."""
    return int(counts[1::2].sum())


def bitmap(counts: Counts, height: int, width: int) -> Bitmap:
    """The mask itself, H x W."""
    inside = np.arange(len(counts)) % 2 == 1
    columns = np.repeat(inside, counts).reshape(width, height)
    mask: Bitmap = cv2.transpose(columns.view(np.uint8)).view(np.bool_)
    return mask


def uncompressed(counts: Counts, height: int, width: int) -> Rle:
    """COCO's uncompressed form."""
    return Rle(tuple(counts.tolist()), (height, width))


def compressed(counts: Counts, height: int, width: int) -> Rle:
    """COCO's text form: `rleToString` of cocoapi, five bits a letter, the third count on as a difference."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    letters: list[NDArray[np.int64]] = []
    pending = np.ones(len(values), bool)
    while pending.any():
        low = values & FIVE_BITS
        values = values >> 5
        # A number ends where the rest is only its sign.
        more = np.where(low & SIGN, values != -1, values != 0)
        letters.append(np.where(pending, low + np.where(more, MORE, 0) + FIRST_LETTER, 0))
        pending = pending & more
    table = np.stack(letters, axis=1).ravel()
    return Rle(bytes(table[table > 0].astype(np.uint8)).decode("ascii"), (height, width))
