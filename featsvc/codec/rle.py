"""Run lengths of masks: column-major, beginning with background, as COCO has them. Vectorised.

Their text is that of maskApi.c in cocodataset/cocoapi: numbers in letters of five bits, as many as each needs, and from
the fourth count on the difference to the one two before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidArgument

Counts = NDArray[np.int64]
Places = NDArray[np.intp]

FIVE_BITS, BITS = 0x1F, 5
MORE = 0x20
SIGN = 0x10
FIRST_LETTER = 48


def changes(columns: NDArray[np.uint8] | NDArray[np.bool_]) -> Places:
    """Where runs begin and end in columns one behind the other: the first that is not background begins one."""
    inner = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    first, last = (
        [0] if columns.size and columns[0] else [],
        [columns.size] if columns.size and columns[-1] else [],
    )
    return np.concatenate([first, inner, last]).astype(np.intp)


def lengths(places: Places, pixels: int) -> Counts:
    """Run lengths of a mask of so many pixels, whose runs begin and end at these places."""
    # A mask that ends inside ends there; no run of nothing follows.
    ends = [] if places.size and places[-1] == pixels else [pixels]
    edges: Counts = np.concatenate([[0], places, ends]).astype(np.int64)
    return edges[1:] - edges[:-1]


def columns(counts: Counts, height: int, width: int) -> NDArray[np.bool_]:
    """The columns of the mask, W x H; raises InvalidArgument where the runs do not fill them."""
    if counts.sum() != height * width or (counts < 0).any():
        raise InvalidArgument(f"run lengths do not fill a mask of {height} x {width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height)


def text(counts: Counts) -> str:
    """COCO's compressed form."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    letters: list[NDArray[np.int64]] = []
    pending = np.ones(len(values), bool)
    while pending.any():
        low = values & FIVE_BITS
        values = values >> BITS
        # A number ends where the rest is only its sign.
        more = np.where(low & SIGN, values != -1, values != 0)
        letters.append(np.where(pending, low + np.where(more, MORE, 0) + FIRST_LETTER, 0))
        pending = pending & more
    table = np.stack(letters, axis=1).ravel()
    return bytes(table[table > 0].astype(np.uint8)).decode("ascii")


def from_text(written: str) -> Counts:
    """The counts of COCO's compressed form; raises InvalidArgument where it is cut off."""
    if not written:
        return np.zeros(0, np.int64)
    groups = np.frombuffer(written.encode("ascii"), np.uint8).astype(np.int64) - FIRST_LETTER
    is_last = (groups & MORE) == 0
    if not is_last[-1]:
        raise InvalidArgument("compressed run lengths are cut off")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    letters = ends - starts + 1
    place = np.arange(groups.size) - np.repeat(starts, letters)
    numbers = np.add.reduceat((groups & FIVE_BITS) << (BITS * place), starts)
    # Two's complement: the last letter has the sign.
    numbers -= np.where(groups[ends] & SIGN, np.int64(1) << (BITS * letters), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
