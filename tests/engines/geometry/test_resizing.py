"""Resizing by products of matrices has Pillow's bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from featsvc.engines.geometry import resizing
from featsvc.engines.geometry.resizing import (
    MOST_TIMES,
    ORDERS,
    Order,
    Resizing,
    Size,
    can_resize,
    pillows_order,
    weights,
)

EXACT = 1 << 24
"""Whole numbers up to this are exact in float32."""


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
        pytest.param((117, 253), (34, 73), id="a portrait, its height first"),
        pytest.param((108, 192), (22, 39), id="a portrait, its width first"),
        pytest.param((194, 484), (79, 197), id="a high one"),
        pytest.param((30, 40), (60, 20), id="wider and less high"),
        pytest.param((4, 401), (3, 390), id="a very high one"),
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


@pytest.fixture
def untried() -> Iterator[None]:
    """Pillow is tried anew within the test, and after it."""
    pillows_order.cache_clear()
    yield
    pillows_order.cache_clear()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.usefixtures("untried")
def test_the_order_is_that_of_the_pillow_that_is_installed(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Image.Image.resize

    def resize(picture: Image.Image, wanted: Size, resample: Image.Resampling) -> Image.Image:
        width, height = picture.size
        between = (width, wanted[1]) if order(picture.size, wanted) else (wanted[0], height)
        return plain(plain(picture, between, resample), wanted, resample)

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert pillows_order() is order


@pytest.mark.usefixtures("untried")
def test_nothing_is_resized_there_in_an_order_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "ORDERS", (lambda size, wanted: wanted[0] > size[0],))
    assert not can_resize((30, 20), 14, 21)


@pytest.mark.parametrize("side", [1, 13, 14, 15, 100, 14 * MOST_TIMES])
def test_no_sum_is_larger_than_what_float32_counts_to(side: int) -> None:
    found = weights(side, 14)
    for part in np.split(found.table[:, 1:], 2, axis=1):
        assert np.abs(part).sum(axis=1).max() * 255 < EXACT
