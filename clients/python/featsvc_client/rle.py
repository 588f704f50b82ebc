"""COCO's run-length masks to booleans and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.codec import rle
from featsvc.errors import InvalidArgument
from featsvc_client.brief import Brief
from featsvc_client.errors import damaged


@dataclass(frozen=True, repr=False)
class Rle(Brief):
    """A mask as runs: COCO's compressed text, or the lengths themselves."""

    counts: str | tuple[int, ...]
    size: tuple[int, int]
    """Height and width."""

    def decoded(self) -> NDArray[np.bool_]:
        """The mask, H x W."""
        try:
            return np.ascontiguousarray(rle.columns(self._lengths(), *self.size).T)
        except InvalidArgument as error:
            raise damaged(error.message) from error

    def rectangle(self) -> tuple[float, float, float, float]:
        """Left and top edge, width and height in pixels, as COCO counts them; zeros of an empty mask."""
        runs, height = self._lengths(), self.size[0]
        ends = np.cumsum(runs)[1::2]
        first, last = (ends - runs[1::2])[runs[1::2] > 0], ends[runs[1::2] > 0] - 1
        if not first.size:
            return 0.0, 0.0, 0.0, 0.0
        left, right = int(first[0]) // height, int(last[-1]) // height
        # A run that goes on in the next column has touched the lower edge, and then the upper one.
        crosses = bool((first // height < last // height).any())
        top, bottom = (
            (0, height - 1) if crosses else (int((first % height).min()), int((last % height).max()))
        )
        return float(left), float(top), float(right - left + 1), float(bottom - top + 1)

    def _lengths(self) -> NDArray[np.int64]:
        """Of runs down the columns: background, mask, background and so on."""
        if not isinstance(self.counts, str):
            return np.asarray(self.counts, np.int64)
        try:
            return rle.from_text(self.counts)
        except InvalidArgument as error:
            raise damaged(error.message) from error

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


def from_mask(mask: NDArray[np.bool_]) -> Rle:
    """The run lengths of a mask, H x W."""
    counts = rle.lengths(rle.changes(mask.ravel(order="F")), mask.size)
    return Rle(tuple(counts.tolist()), (mask.shape[0], mask.shape[1]))
