"""Colours of principal components: exact, repeatable, and those of upsampled features without making them."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from featsvc.engines.answers.axes import MOST_AT_ONCE, Target, principal
from featsvc.engines.answers.pca import Scaled, colours, fitted
from featsvc.engines.geometry.upsample import padded_size, to_pixels
from featsvc.v1.schema import InterpolationMode
from featsvc.work.results import Floats, Geometry

GEOMETRY = Geometry(
    patch_size=8,
    stride=8,
    resized_height=37,
    resized_width=52,
    pad_right=4,
    pad_bottom=3,
    original_height=37,
    original_width=52,
    grid_height=5,
    grid_width=7,
)


def features(channels: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(6, channels, generator=generator) * torch.tensor([8.0, 5, 3, 1, 0.5, 0.2])[:, None]
    return torch.randn(5, 7, 6, generator=generator) @ mixing + 3


def grid_colours(vectors: torch.Tensor, q_min: float, q_max: float) -> Floats:
    basis, projection = fitted(vectors, Scaled(q_min, q_max))
    return colours(projection, basis)


def pixel_colours(
    vectors: torch.Tensor, geometry: Geometry, mode: InterpolationMode, q_min: float, q_max: float
) -> Floats:
    basis, projection = fitted(vectors, Scaled(q_min, q_max), Target(geometry, mode))
    return colours(projection, basis)


def plain_colours(vectors: np.ndarray, q_min: float, q_max: float) -> np.ndarray:
    """The colours written down once more, with an SVD."""
    flat = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    _, _, rows = np.linalg.svd(flat, full_matrices=False)
    columns = []
    for row in rows[:3]:
        row = row if row[np.abs(row).argmax()] > 0 else -row
        values = flat @ row
        low, high = np.quantile(values, q_min), np.quantile(values, q_max)
        columns.append(np.clip((values - low) / (high - low), 0, 1))
    return np.stack(columns, axis=-1).reshape(*vectors.shape[:2], 3)


@pytest.mark.parametrize("channels", [12, 100])
@pytest.mark.parametrize("quantiles", [(0.01, 0.99), (0.2, 0.7), (0.0, 1.0)])
def test_colours_of_cells_are_those_of_a_plain_svd(channels: int, quantiles: tuple[float, float]) -> None:
    got = grid_colours(features(channels), *quantiles)
    np.testing.assert_allclose(got, plain_colours(features(channels).numpy(), *quantiles), atol=1e-5)
    assert got.dtype == np.float32


@pytest.mark.parametrize("mode", list(InterpolationMode))
@pytest.mark.parametrize("channels", [12, 40])
def test_colours_of_pixels_are_those_of_upsampled_features(mode: InterpolationMode, channels: int) -> None:
    got = pixel_colours(features(channels), GEOMETRY, mode, 0.01, 0.99)
    upsampled = to_pixels(features(channels).double().permute(2, 0, 1), GEOMETRY, mode).permute(1, 2, 0)
    assert upsampled.shape == (37, 52, channels)
    np.testing.assert_allclose(got, plain_colours(upsampled.numpy(), 0.01, 0.99), atol=1e-4)


def test_components_have_their_largest_weight_positive_and_length_one() -> None:
    centred = features().flatten(0, 1).double()
    for rows in (centred, centred[:4]):
        axes = principal(rows - rows.mean(dim=0), 0.0)
        assert (axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)) > 0).all()
        torch.testing.assert_close(axes.norm(dim=0), torch.ones(3, dtype=torch.float64))


def test_colours_are_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib, torch\n"
        "torch.set_num_threads(1)\n"
        "from tests.engines.answers.test_pca import features, grid_colours\n"
        "print(hashlib.sha256(grid_colours(features(), 0.01, 0.99).tobytes()).hexdigest())\n"
    )
    torch.set_num_threads(1)
    mine = hashlib.sha256(grid_colours(features(), 0.01, 0.99).tobytes()).hexdigest()
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == mine


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("channels", [2, 12, 384])
def test_few_cells_have_no_more_components_than_differences(height: int, width: int, channels: int) -> None:
    count = height * width
    rank = min(count - 1, channels)
    found = grid_colours(features(channels)[:height, :width], 0.0, 1.0)
    assert found.shape == (height, width, 3)
    assert (found[..., rank:] == 0).all()
    assert (found[..., :rank].max(axis=(0, 1), initial=0) == 1).all()


def of_rank(rank: int, channels: int, cells: int = 7) -> torch.Tensor:
    """Features in float32 that have so many components, but for their rounding, about a mean that is larger."""
    generator = torch.Generator().manual_seed(7)
    mixing = torch.randn(rank, channels, generator=generator) * torch.tensor([9.0, 4.0, 2.0])[:rank, None]
    return torch.randn(5, cells, rank, generator=generator) @ mixing + 50 * torch.randn(
        channels, generator=generator
    )


@pytest.mark.parametrize("channels", [12, 384])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_component_that_is_rounding_alone_is_zero_everywhere(rank: int, channels: int) -> None:
    for found in (
        grid_colours(of_rank(rank, channels), 0.01, 0.99),
        pixel_colours(of_rank(rank, channels), GEOMETRY, InterpolationMode.BILINEAR, 0.01, 0.99),
    ):
        assert (found[..., rank:] == 0).all()
        assert (found[..., :rank].std(axis=(0, 1)) > 0.1).all()


@pytest.mark.parametrize("rank", [1, 2])
def test_a_component_of_many_cells_and_channels_that_is_rounding_alone_is_zero_too(rank: int) -> None:
    found = grid_colours(of_rank(rank, channels=MOST_AT_ONCE + 6, cells=210), 0.01, 0.99)
    assert (found[..., rank:] == 0).all()
    assert (found[..., :rank].std(axis=(0, 1)) > 0.1).all()


def test_a_range_that_is_rounding_alone_is_zero_though_one_cell_stands_out() -> None:
    cells = torch.full((5, 7, 12), 3.7)
    cells += 1e-7 * torch.randn(cells.shape, generator=torch.Generator().manual_seed(1))
    cells[2, 3] = 9
    assert (grid_colours(cells, 0.2, 0.8) == 0).all()


def test_equal_cells_have_no_colours() -> None:
    assert (grid_colours(torch.full((4, 5, 8), 3.7), 0.01, 0.99) == 0).all()


def test_more_elements_than_torch_quantile_takes_are_no_problem() -> None:
    large = Geometry(8, 8, 2400, 2400, 0, 0, 2400, 2400, 5, 7)
    assert padded_size(large) == (2400, 2400)
    found = pixel_colours(features(), large, InterpolationMode.BILINEAR, 0.01, 0.99)
    assert found.size > 1 << 24
    assert 0.4 < found.mean() < 0.6
