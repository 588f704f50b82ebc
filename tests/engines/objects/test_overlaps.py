"""What masks share, and which contains which, against pixels that are counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.engines.answers import rle
from featsvc.engines.objects.overlaps import Nesting, intersections, nestings


def blobs(count: int, height: int, width: int) -> np.ndarray:
    """Rectangles, some in others, one of them empty and one that is everything."""
    rng = np.random.default_rng(4)
    masks = np.zeros((count, height, width), bool)
    for mask in masks[2:]:
        y0, x0 = rng.integers(0, height - 2), rng.integers(0, width - 2)
        mask[y0 : rng.integers(y0 + 1, height), x0 : rng.integers(x0 + 1, width)] = True
        mask[rng.integers(0, height)] ^= True
    masks[1] = True
    return masks


@pytest.mark.parametrize("size", [(7, 9), (40, 33), (1, 50)])
def test_shared_pixels_are_those_that_are_counted(size: tuple[int, int]) -> None:
    masks = blobs(12, max(3, size[0]), size[1])
    counted = np.array([[(one & other).sum() for other in masks] for one in masks])
    found = intersections([rle.run_lengths(mask) for mask in masks])
    np.testing.assert_array_equal(found, counted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featsvc.engines.objects.overlaps.TABLE", 30)
        np.testing.assert_array_equal(intersections([rle.run_lengths(mask) for mask in masks]), counted)


def test_no_masks_share_nothing() -> None:
    assert intersections([]).shape == (0, 0)
    assert nestings(np.zeros((0, 0)), 0.85) == []


def test_a_mask_is_a_part_of_the_smallest_that_contains_it() -> None:
    masks = np.zeros((6, 20, 20), bool)
    masks[0, 5:8, 5:8] = True  # in 2, which is in 1
    masks[1] = True
    masks[2, 4:12, 4:12] = True
    masks[3, 10:14, 10:14] = True  # a quarter of it in 2
    masks[4] = True  # the same as 1, and after it
    shared = intersections([rle.run_lengths(mask) for mask in masks])
    assert nestings(shared, 0.85) == [
        Nesting(3, 2),
        Nesting(0, None),
        Nesting(2, 4),
        Nesting(2, 4),
        Nesting(1, 1),
        Nesting(0, None),  # an empty one is in nothing
    ]


def test_containment_is_the_part_that_must_lie_in_the_other() -> None:
    masks = np.zeros((2, 10, 10), bool)
    masks[0, :6, :6] = True
    masks[1, 4:8, 0:2] = True  # half of it in the other
    shared = intersections([rle.run_lengths(mask) for mask in masks])
    assert nestings(shared, 0.5)[1] == Nesting(1, 0)
    assert nestings(shared, 0.51)[1] == Nesting(0, None)
