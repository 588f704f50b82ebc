"""Resizing by products of matrices has Pillow's bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featsvc.engines.geometry.resizing import MOST_TIMES, Resizing, can_resize, weights

EXACT = 1 << 24
"""Whole numbers up to this are exact in float32."""
Size = tuple[int, int]
"""Width and height."""


@pytest.mark.parametrize("is_hard", [False, True], ids=["noise", "black and white"])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        pytest.param((640, 360), (398, 224), id="smaller"),
        pytest.param((75, 50), (72, 48), id="a little smaller"),
        pytest.param((90, 61), (181, 120), id="larger"),
        pytest.param((30, 30), (7, 300), id="one side larger"),
        pytest.param((33, 17), (33, 40), id="one side as it was"),
        pytest.param((17, 33), (40, 33), id="the other side as it was"),
        pytest.param((14 * MOST_TIMES, 90), (14, 6), id="as much smaller as can be"),
    ],
)
def test_the_bytes_are_pillows(size: Size, wanted: Size, is_hard: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if is_hard:  # sums beyond 0 and 255
        pixels = (pixels > 127).astype(np.uint8) * 255
    width, height = wanted
    assert can_resize(size, height, width)
    ours = Resizing(height, width)(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0)
    theirs = Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(ours.numpy(), np.asarray(theirs))


def test_what_would_not_be_exact_is_not_resized_so() -> None:
    assert not can_resize((14 * MOST_TIMES + 1, 14), 14, 14)
    assert not can_resize((14, 14 * MOST_TIMES + 1), 14, 14)


@pytest.mark.parametrize("side", [1, 13, 14, 15, 100, 14 * MOST_TIMES])
def test_no_sum_is_larger_than_what_float32_counts_to(side: int) -> None:
    found = weights(side, 14)
    for part in np.split(found.table[:, 1:], 2, axis=1):
        assert np.abs(part).sum(axis=1).max() * 255 < EXACT
