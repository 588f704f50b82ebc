"""COCO's run-length masks to booleans without a loop over runs or pixels.

The format is that of maskApi.c in cocodataset/cocoapi: runs in column-major order, beginning with background;
compressed, each count is written in groups of five bits, from the fourth on as difference to the one
two before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc_client.errors import damaged


@dataclass(frozen=True)
class Rle:
    """A mask as runs: COCO's compressed text, or the lengths themselves."""

    counts: str | tuple[int, ...]
    size: tuple[int, int]
    """Height and width."""

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W."""
        runs = (
            compressed_counts(self.counts)
            if isinstance(self.counts, str)
            else np.asarray(self.counts, np.int64)
        )
        height, width = self.size
        if (runs < 0).any() or runs.sum() != height * width:
            raise damaged(f"run lengths do not fill a mask of {height} x {width}")
        values = np.arange(runs.size) % 2 == 1
        return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)

    def coco(self) -> dict[str, object]:
        """The object that pycocotools takes."""
        counts = self.counts if isinstance(self.counts, str) else list(self.counts)
        return {"size": list(self.size), "counts": counts}


def from_coco(runs: Mapping[str, object]) -> Rle:
    """The mask of a COCO object, compressed or not."""
    counts, size = runs["counts"], runs["size"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    if not isinstance(counts, str | Sequence) or not isinstance(size, Sequence):
        raise TypeError("a run-length mask maps `counts` to text or numbers, and `size` to height and width")
    return Rle(counts if isinstance(counts, str) else tuple(counts), (int(size[0]), int(size[1])))


def compressed_counts(written: str) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed text."""
    if not written:
        return np.zeros(0, np.int64)
    groups = np.frombuffer(written.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = (groups & 0x20) == 0
    if not last[-1]:
        raise damaged("compressed run lengths are cut off")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    # Two's complement: bit 4 of the last group is the sign.
    numbers -= np.where(groups[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
