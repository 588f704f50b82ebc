"""Resize, crop and padding follow the rules of docs/formulas.md."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from featsvc.engines.geometry.sizing import Fit, Grid, check_size, geometry_of, network_input
from featsvc.engines.running.colours import Normal
from featsvc.errors import InvalidFields
from featsvc.v1.schema import PaddingMode
from featsvc.work.options import EngineOptions
from featsvc.work.results import Geometry
from tests.engines import models

PLAIN = Normal((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
GRID = Grid(16, 16)


def fit(load_size: int = -1, center_crop: bool = False, mode: str = "constant") -> Fit:
    return Fit(load_size, center_crop, PaddingMode(mode))


def size_of(load_size: int, picture: Image.Image, center_crop: bool = False) -> tuple[int, int]:
    geometry = network_input(picture, fit(load_size, center_crop), GRID, PLAIN).geometry
    return geometry.resized_width, geometry.resized_height


@pytest.mark.parametrize(
    ("load_size", "size"), [(-1, (75, 50)), (-2, (150, 100)), (64, (96, 64)), (33, (49, 33))]
)
def test_load_size_is_the_shorter_side_or_a_factor(load_size: int, size: tuple[int, int]) -> None:
    assert size_of(load_size, models.picture(75, 50)) == size
    assert size_of(load_size, models.picture(50, 75)) == size[::-1]


@pytest.mark.parametrize("load_size", [24, 80])
def test_resizing_is_that_of_torchvision_on_a_pillow_picture(load_size: int) -> None:
    picture = models.picture(75, 50)
    wanted = T.Compose([T.Resize(load_size, T.InterpolationMode.BICUBIC, antialias=True), T.ToTensor()])(
        picture
    )
    got = network_input(picture, fit(load_size), Grid(1, 1), PLAIN).pixels
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_the_crop_is_the_square_in_the_middle() -> None:
    picture = models.picture(75, 50)
    assert size_of(32, picture, center_crop=True) == (32, 32)
    wanted = T.Compose(
        [T.Resize(32, T.InterpolationMode.BICUBIC, antialias=True), T.CenterCrop(32), T.ToTensor()]
    )(picture)
    got = network_input(picture, fit(32, center_crop=True), GRID, PLAIN).pixels
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(75, 50), (50, 75), (61, 32), (63, 33)])
def test_the_geometry_says_where_the_crop_lies(size: tuple[int, int]) -> None:
    picture, params = models.picture(*size), fit(32, center_crop=True)
    geometry = geometry_of(picture.size, params, GRID)
    whole = network_input(picture, fit(32), Grid(1, 1), PLAIN).pixels
    assert whole.shape[1:] == (geometry.uncropped_height, geometry.uncropped_width)
    rows = slice(geometry.crop_top, geometry.crop_top + 32)
    columns = slice(geometry.crop_left, geometry.crop_left + 32)
    torch.testing.assert_close(
        network_input(picture, params, GRID, PLAIN).pixels, whole[:, rows, columns], rtol=0, atol=0
    )


def test_the_geometry_says_how_the_grid_lies_on_the_picture() -> None:
    got = network_input(models.picture(75, 50), fit(40), Grid(14, 7), PLAIN)
    assert got.geometry == Geometry(
        patch_size=14,
        stride=7,
        resized_height=40,
        resized_width=60,
        pad_right=10,
        pad_bottom=2,
        original_height=50,
        original_width=75,
        grid_height=5,
        grid_width=9,
        uncropped_height=40,
        uncropped_width=60,
    )
    assert got.pixels.shape == (3, 42, 70)


@pytest.mark.parametrize(
    ("mode", "numpy_mode"),
    [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")],
)
def test_padding_at_right_and_bottom_is_of_the_mode_asked_for(mode: str, numpy_mode: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    got = network_input(models.picture(75, 50), fit(mode=mode), GRID, Normal(mean, std)).pixels.numpy()
    plain = network_input(models.picture(75, 50), fit(), Grid(1, 1), PLAIN).pixels.numpy()
    normal = (plain - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    wanted = np.pad(normal, ((0, 0), (0, 14), (0, 5)), mode=numpy_mode)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "width", "works"),
    [("reflect", 9, True), ("reflect", 8, False), ("circular", 8, True), ("circular", 7, False)],
)
def test_a_mode_that_cannot_pad_so_far_says_so(mode: str, width: int, works: bool) -> None:
    picture = models.picture(width, 16)
    if works:
        network_input(picture, fit(mode=mode), GRID, PLAIN)
        return
    with pytest.raises(InvalidFields, match=f"{mode} cannot pad {width} x 16") as caught:
        network_input(picture, fit(mode=mode), GRID, PLAIN)
    assert caught.value.violations[0].field == "params.padding_mode"


@pytest.mark.parametrize("center_crop", [False, True])
@pytest.mark.parametrize("load_size", [1, 16, 33, 50, 64, -1, -3])
def test_the_geometry_before_any_pixel_is_that_of_the_pixels(load_size: int, center_crop: bool) -> None:
    for size in ((75, 50), (50, 75), (31, 97), (7, 1), (33, 33)):
        how, grid = fit(load_size, center_crop), Grid(14, 7)
        got = network_input(models.picture(*size), how, grid, PLAIN)
        geometry = geometry_of(size, how, grid)
        assert got.geometry == geometry
        height, width = got.pixels.shape[1:]
        assert height == geometry.resized_height + geometry.pad_bottom
        assert width == geometry.resized_width + geometry.pad_right
        assert (height - 14) // 7 + 1 == geometry.grid_height
        assert (width - 14) // 7 + 1 == geometry.grid_width


def test_a_load_size_of_zero_is_an_error() -> None:
    with pytest.raises(InvalidFields, match="0 is no size"):
        network_input(models.picture(20, 20), fit(0), GRID, PLAIN)


def test_a_load_size_cannot_blow_a_picture_up_beyond_the_limit() -> None:
    options = EngineOptions(max_image_pixels=1000)
    check_size(models.picture(20, 40), fit(20), options)
    with pytest.raises(InvalidFields, match="makes 100 x 200 pixels") as caught:
        check_size(models.picture(20, 40), fit(100), options)
    assert caught.value.violations[0].field == "params.load_size"
