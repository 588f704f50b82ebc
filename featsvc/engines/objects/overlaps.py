"""How masks lie on each other, from their run lengths: what they share, and which contains which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.codec.rle import Counts
from featsvc.engines.running.steps import step
from featsvc.errors import invalid_field

MOST_RUNS = 1 << 24
"""Runs of all masks of a request: thousands for each of a thousand, which take a gigabyte when they are compared."""
TABLE = 1 << 22
"""Memberships, of masks in sets, that are looked at together."""
Matrix = NDArray[np.float64]


class Nesting(NamedTuple):
    """Where an object stands among those that contain it."""

    level: int
    """How many contain it, one in the other."""
    parent: int | None
    """The smallest of these."""


def check_runs(count: int) -> None:
    """Refuses masks of too many runs: those would take far more memory than their pixels do."""
    if count > MOST_RUNS:
        message = f"the masks have over {MOST_RUNS} runs of pixels together, as noise has"
        raise invalid_field("source", f"{message}: send fewer at once, or smoother ones")


def intersections(runs: Sequence[Counts]) -> Matrix:
    """Pixels that each two of N masks of one picture share, N x N; on its diagonal their areas.

    Where a run of some mask begins or ends, another set of masks may lie on the picture; between two such places it
    is the same. Stretches with the same set are put together, and what is left, some thousands for hundreds of masks,
    makes a matrix product of membership weighted by pixels. Sets are told apart by sums of a random 64-bit number for
    each mask.
    """
    shared: Matrix = np.zeros((len(runs), len(runs)))
    if not runs:
        return shared
    check_runs(sum(map(len, runs)))
    edges = [np.cumsum(counts) for counts in runs]
    names = np.random.default_rng(0).integers(1, np.iinfo(np.uint64).max, len(runs), np.uint64)
    # A foreground run begins where a run of background ends, and the other way round.
    places = np.concatenate([each[: len(each) // 2 * 2] for each in edges])
    # Unsigned, so that what is added wraps around and is taken off again exactly.
    pairs = np.stack([names, -names], axis=1)
    steps = np.concatenate([np.tile(pair, len(each) // 2) for each, pair in zip(edges, pairs, strict=True)])
    step()
    order = np.argsort(places, kind="stable")
    places = places[order]
    sets = np.cumsum(steps[order], dtype=np.uint64)[:-1]
    lengths = np.diff(places)
    is_some = (lengths > 0) & (sets != 0)
    _, first, which = np.unique(sets[is_some], return_index=True, return_inverse=True)
    pixels = np.bincount(which, lengths[is_some], len(first))
    samples = places[:-1][is_some][first]
    together = max(1, TABLE // len(runs))
    for first_set in range(0, len(samples), together):
        step()
        some = slice(first_set, first_set + together)
        inside = np.stack([np.searchsorted(each, samples[some], "right") % 2 == 1 for each in edges])
        shared += (inside * pixels[some]) @ inside.T.astype(np.float64)
    return shared


def nestings(shared: Matrix, containment: float, groups: Sequence[str] = ()) -> list[Nesting]:
    """The nesting of each of N masks among those of which at least this part of it lies in them, and that are larger.

    Of two of one size the first counts as the larger. With groups only those of its own group count.
    """
    areas = np.diagonal(shared)
    order = np.argsort(-areas, kind="stable")
    rank = np.empty(len(areas), np.intp)
    rank[order] = np.arange(len(areas))
    contains = (
        (shared >= containment * areas[:, None]) & (rank[None, :] < rank[:, None]) & (areas[:, None] > 0)
    )
    if groups:
        names = np.array(groups)
        contains &= names[:, None] == names[None, :]
    found: dict[int, Nesting] = {}
    for index in order.tolist():
        around = np.flatnonzero(contains[index])
        if not len(around):
            found[index] = Nesting(0, None)
            continue
        parent = int(around[np.argmax(rank[around])])
        found[index] = Nesting(found[parent].level + 1, parent)
    return [found[index] for index in range(len(areas))]


def ious(shared: Matrix) -> Matrix:
    """Intersection over union of each two masks, N x N, of the pixels that they share; 0 of two empty ones."""
    areas = np.diagonal(shared)
    unions = areas[:, None] + areas[None, :] - shared
    return np.divide(shared, unions, out=np.zeros_like(shared), where=unions > 0)


def unlike(order: Iterable[int], overlaps: Matrix, most: float) -> Iterator[int]:
    """Indices in their order without those that overlap one before them by more than `most`."""
    kept: list[int] = []
    for index in order:
        if not (overlaps[index, kept] > most).any():
            kept.append(index)
            yield index
