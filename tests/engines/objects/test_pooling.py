"""Dense features under masks, against a computation of small squares of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featsvc.engines.geometry.sizing import Fit, Grid, geometry_of
from featsvc.engines.objects import pooling as pooling_module
from featsvc.engines.objects.pooling import coverage, eroded, pooled
from featsvc.v1.schema import PaddingMode, PooledDescriptor, Pooling
from featsvc.work.results import Geometry

FINE = 30
"""Parts of a pixel's side that the second computation looks at; all sides of cells lie between them."""


def geometry(
    load_size: int = -1, *, crop: bool = False, stride: int = 4, size: tuple[int, int] = (18, 12)
) -> Geometry:
    return geometry_of(size, Fit(load_size, crop, PaddingMode.CONSTANT), Grid(4, stride))


def masks(count: int = 3, height: int = 12, width: int = 18) -> np.ndarray:
    return np.random.default_rng(1).random((count, height, width)) > 0.5


def by_small_squares(mask: np.ndarray, g: Geometry) -> np.ndarray:
    """The part of each cell that a mask covers, by looking at FINE x FINE places of each pixel of the picture."""
    fine = mask.repeat(FINE, 0).repeat(FINE, 1)
    found = np.zeros((g.grid_height, g.grid_width))
    down = g.original_height * FINE / g.uncropped_height
    across = g.original_width * FINE / g.uncropped_width
    for row in range(g.grid_height):
        for column in range(g.grid_width):
            y, x = (row * g.stride + g.crop_top) * down, (column * g.stride + g.crop_left) * across
            bottom, right = y + g.patch_size * down, x + g.patch_size * across
            assert max(abs(each - round(each)) for each in (y, x, bottom, right)) < 1e-9
            part = fine[round(y) : round(bottom), round(x) : round(right)]
            found[row, column] = part.sum() / (g.patch_size**2 * down * across)
    return found


@pytest.mark.parametrize(
    "g",
    [
        geometry(),
        geometry(stride=2),
        geometry(load_size=10, size=(18, 12)),
        geometry(load_size=20, size=(18, 12)),
        geometry(load_size=12, crop=True),
    ],
    ids=["as sent", "overlapping", "smaller", "larger", "cropped"],
)
def test_a_cell_counts_by_the_part_of_it_that_the_mask_covers(g: Geometry) -> None:
    own = masks()
    expected = np.stack([by_small_squares(mask, g) for mask in own])
    np.testing.assert_allclose(coverage(own, g), expected, atol=1e-6)


def test_a_mask_of_one_whole_cell_has_the_feature_of_that_cell() -> None:
    g = geometry()
    features = torch.randn(g.grid_height, g.grid_width, 5, generator=torch.Generator().manual_seed(0))
    own = np.zeros((1, 12, 18), bool)
    own[0, 4:8, 8:12] = True
    for pooling in (Pooling.MEAN, Pooling.MAX):
        torch.testing.assert_close(
            pooled(features, g, own, PooledDescriptor(pooling=pooling))[0], features[1, 2], rtol=0, atol=0
        )


@pytest.mark.parametrize("how", list(Pooling))
def test_very_many_masks_are_pooled_a_few_at_a_time(how: Pooling, monkeypatch: pytest.MonkeyPatch) -> None:
    g = geometry()
    features = torch.randn(g.grid_height, g.grid_width, 5, generator=torch.Generator().manual_seed(0))
    every, way = masks(7), PooledDescriptor(pooling=how)
    whole = pooled(features, g, every, way)
    held: list[int] = []

    def noting(some: np.ndarray, g: Geometry) -> np.ndarray:
        held.append(len(some))
        return coverage(some, g)

    monkeypatch.setattr(pooling_module, "coverage", noting)
    monkeypatch.setattr(pooling_module, "WEIGHTS", 2 * g.grid_height * g.grid_width)
    torch.testing.assert_close(pooled(features, g, every, way), whole)
    assert held == [2, 2, 2, 1]
    assert pooled(features, g, every[:0], way).shape == (0, 5)


def test_a_fine_grid_is_looked_at_in_parts_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    g = geometry()
    own, way = masks(), PooledDescriptor(grid_width=12)
    whole = pooling_module.weights(own, g, way)
    monkeypatch.setattr(pooling_module, "PLACES", 24)
    np.testing.assert_allclose(pooling_module.weights(own, g, way), whole, rtol=1e-6)
    flop = [pooling_module.pooling_flop(g, PooledDescriptor(grid_width=width)) for width in (0, 6, 12)]
    assert flop[0] < flop[1] < flop[2]


def test_ways_of_pooling_are_what_they_say() -> None:
    g = geometry()
    features = torch.randn(g.grid_height, g.grid_width, 5, generator=torch.Generator().manual_seed(0))
    own = masks()
    own[1] = False
    own[1, 2:11, 1:17] = True
    own[2] = False
    parts = np.stack([by_small_squares(mask, g) for mask in own])
    mean = pooled(features, g, own, PooledDescriptor())
    weights = torch.from_numpy(parts[:2] / parts[:2].sum(axis=(1, 2), keepdims=True)).float()
    torch.testing.assert_close(mean[:2], torch.einsum("nhw,hwd->nd", weights, features))
    most = pooled(features, g, own, PooledDescriptor(pooling=Pooling.MAX))
    for index in range(2):
        torch.testing.assert_close(most[index], features[torch.from_numpy(parts[index] > 0)].amax(dim=0))
    inner = own.copy()
    inner[1] = False
    inner[1, 4:9, 3:15] = True
    within = pooled(features, g, own, PooledDescriptor(pooling=Pooling.ERODED_MEAN, erosion=2))
    torch.testing.assert_close(within, pooled(features, g, inner, PooledDescriptor()))
    assert not mean[2].any()
    assert not most[2].any()
    assert not within[2].any()


def test_a_mask_of_which_erosion_would_leave_nothing_stays() -> None:
    own = np.zeros((2, 12, 18), bool)
    own[0, 3:5, 3:9] = True
    own[1, :, :5] = True
    left = eroded(own, 1)
    np.testing.assert_array_equal(left[0], own[0])
    assert left[1, :, :4].all()
    assert not left[1, :, 4].any()
