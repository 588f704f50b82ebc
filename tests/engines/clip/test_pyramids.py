"""Pyramids equal LERF's computation written down plainly: unfold, resize, encode, and interpolate point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from featsvc.catalog import ClipEntry
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import AT_ONCE
from featsvc.errors import Abandoned, ContentWanted
from featsvc.v1.schema import EmbedPyramidParams, Orientation
from featsvc.work.item import PictureItem
from featsvc.work.operations import EMBED_PYRAMID
from featsvc.work.results import Pyramid
from tests.engines import models
from tests.engines.clip.pyramids import CUT, IMAGE, pyramid


@dataclass(frozen=True)
class PlainLevel:
    """LERF's PatchEmbeddingDataloader for one picture."""

    grid: np.ndarray
    """Rows x columns x D."""
    rows: np.ndarray
    """Their centres."""
    columns: np.ndarray
    stride: int

    @classmethod
    def of(
        cls, network: open_clip.CLIP, entry: ClipEntry, image: Image.Image, ratio: float, stride_scaler: float
    ) -> PlainLevel:
        kernel = int(image.height * ratio)
        stride = int(kernel * np.interp(ratio, [0.05, 0.15], [1.0, stride_scaler]))
        padding = kernel // 2

        def centers(pixels: int) -> np.ndarray:
            count = np.floor((pixels + 2 * padding - (kernel - 1) - 1) / stride + 1)
            centers: np.ndarray = (kernel - 1) / 2 - padding + stride * np.arange(count)
            return centers

        rows, columns = centers(image.height), centers(image.width)
        tiles = torch.nn.Unfold(kernel_size=kernel, stride=stride, padding=padding)(ToTensor()(image)[None])
        tiles = tiles.permute(2, 0, 1).reshape(-1, 3, kernel, kernel)
        process = Compose([Resize(network.visual.image_size), Normalize(entry.mean, entry.std)])
        vectors = F.normalize(network.encode_image(process(tiles)), dim=-1)
        return cls(vectors.reshape(len(rows), len(columns), -1).numpy(), rows, columns, stride)

    def at(self, x: float, y: float) -> np.ndarray:
        row, column = ((each - first[0]) / self.stride for each, first in ((y, self.rows), (x, self.columns)))
        # LERF repeats the last row and column once, so that what lies beyond has them.
        padded = np.pad(self.grid, ((0, 1), (0, 1), (0, 0)), mode="edge")
        (i, down), (j, right) = ((int(each), each % 1) for each in (row, column))
        above = padded[i, j] * (1 - right) + padded[i, j + 1] * right
        below = padded[i + 1, j] * (1 - right) + padded[i + 1, j + 1] * right
        return np.asarray(above * (1 - down) + below * down)


def plain_at(levels: list[PlainLevel], ratios: np.ndarray, x: float, y: float, scale: float) -> np.ndarray:
    low = min(int((scale - ratios[0]) / (ratios[-1] - ratios[0]) * (len(ratios) - 1)), len(ratios) - 2)
    part = (scale - ratios[low]) / (ratios[low + 1] - ratios[low])
    vector = levels[low].at(x, y) * (1 - part) + levels[low + 1].at(x, y) * part
    return np.asarray(vector / np.linalg.norm(vector))


def check_equal_to_plain(
    engines: Engines, model: ClipModel, network: open_clip.CLIP, image: Image.Image, **options: Any
) -> None:
    name = f"sha256:{image.size}"
    got = pyramid(engines, model, image, name, **options)
    params = EmbedPyramidParams(**options)
    ratios = torch.linspace(params.tile_ratio_min, params.tile_ratio_max, params.tile_levels).double().numpy()
    plain = [PlainLevel.of(network, model.entry, image, ratio, params.tile_stride_ratio) for ratio in ratios]
    wanted = np.concatenate([each.grid.reshape(-1, model.channels) for each in plain])
    assert [(each.grid_height, each.grid_width) for each in got.levels] == [
        each.grid.shape[:2] for each in plain
    ]
    assert [(each.first_center, each.first_center) for each in got.levels] == [
        (each.rows[0], each.columns[0]) for each in plain
    ]
    assert np.abs(got.features - wanted).max() < 1e-4
    assert wanted.std() > 0.01
    right, bottom = image.width - 1, image.height - 1
    points = [
        (0, 0, params.tile_ratio_min),
        (right, bottom, params.tile_ratio_max),
        (right / 3, bottom * 0.61, ratios[:2] @ (0.75, 0.25)),
        (right, 0, ratios[-2:].mean()),
        (right / 2, bottom / 2, ratios[-2:] @ (0.1, 0.9)),
    ]
    sampled = pyramid(engines, model, image, name, scaled_points=points, **options).features
    by_hand = np.stack([plain_at(plain, ratios, *each) for each in points])
    assert np.abs(sampled - by_hand).max() < 1e-4
    assert len({row.tobytes() for row in sampled}) == len(points)


@pytest.mark.slow
def test_a_pyramid_of_vit_b_16_equals_the_formula_written_down_plainly(
    engines: Engines, vit_b16: ClipModel
) -> None:
    options = {"tile_ratio_min": 0.5, "tile_ratio_max": 1, "tile_levels": 2, "tile_stride_ratio": 1}
    check_equal_to_plain(engines, vit_b16, models.plain_clip(), models.picture(48, 32), **options)


@pytest.mark.parametrize(("size", "least"), [((70, 51), 0.3), ((24, 57), 0.13)])
def test_tiles_and_points_equal_the_formula_written_down_plainly(
    engines: Engines, demo_clip: ClipModel, size: tuple[int, int], least: float
) -> None:
    options = {"tile_ratio_min": least, "tile_ratio_max": 0.74, "tile_levels": 3, "tile_stride_ratio": 0.9}
    check_equal_to_plain(engines, demo_clip, demo_clip.network, models.picture(*size), **options)


@pytest.fixture(scope="module")
def tiles(engines: Engines, demo_clip: ClipModel) -> Pyramid:
    """Of a picture without a name, of which nothing is kept."""
    return pyramid(engines, demo_clip, IMAGE, **CUT)


def test_a_cached_pyramid_answers_the_same_bytes_without_its_picture(
    engines: Engines, demo_clip: ClipModel, tiles: Pyramid
) -> None:
    name = "sha256:cached"
    cold = pyramid(engines, demo_clip, IMAGE, name, **CUT)
    params = EmbedPyramidParams(**CUT)
    warm = models.answer(engines, EMBED_PYRAMID.rpc, PictureItem(digest=name), params, demo_clip)
    assert isinstance(warm, Pyramid)
    assert cold.features.tobytes() == warm.features.tobytes() == tiles.features.tobytes()
    assert warm.levels == cold.levels
    # Whoever cuts it otherwise has other tiles.
    other = EmbedPyramidParams(**{**CUT, "tile_ratio_max": 0.9})
    with pytest.raises(ContentWanted):
        models.answer(engines, EMBED_PYRAMID.rpc, PictureItem(digest=name), other, demo_clip)
    shown = PictureItem(digest=name, orientation=Orientation.SHOWN)
    with pytest.raises(ContentWanted):
        models.answer(engines, EMBED_PYRAMID.rpc, shown, params, demo_clip)


def test_a_batch_of_pictures_has_the_bytes_that_each_has_alone(
    engines: Engines, demo_clip: ClipModel, tiles: Pyramid
) -> None:
    params = EmbedPyramidParams(**CUT)
    items = [models.item_of(each) for each in (models.picture(64, 48, seed=1), IMAGE)]
    prepared = [engines.prepare(EMBED_PYRAMID.rpc, each, params, demo_clip) for each in items]
    assert len({engines.batch_key(each) for each in prepared}) == 2
    other, own = engines.run(EMBED_PYRAMID.rpc, prepared, params, demo_clip)
    assert isinstance(own, Pyramid)
    assert isinstance(other, Pyramid)
    assert own.features.tobytes() == tiles.features.tobytes() != other.features.tobytes()


def test_a_grid_has_the_vectors_of_its_places(engines: Engines, demo_clip: ClipModel) -> None:
    scales = (0.7, 0.4)
    grid = {"width": 4, "height": 3, "scales": scales}
    got = pyramid(engines, demo_clip, IMAGE, "sha256:grid", scaled_grid=grid, **CUT).features
    # 64 x 48 pixels in 4 x 3 parts of 16 x 16.
    points = [(16 * x + 7.5, 16 * y + 7.5, scale) for scale in scales for y in range(3) for x in range(4)]
    wanted = pyramid(engines, demo_clip, IMAGE, "sha256:grid", scaled_points=points, **CUT).features
    assert got.shape == (2, 3, 4, 128)
    np.testing.assert_array_equal(got.reshape(-1, 128), wanted)
    # Places finer than pixels lie outside their centres at the border, where the outermost tiles hold.
    fine = {"width": 256, "height": 1, "scales": (0.4,)}
    edge = pyramid(engines, demo_clip, IMAGE, "sha256:grid", scaled_grid=fine, **CUT).features
    assert edge[0, 0, 0].tobytes() == edge[0, 0, 1].tobytes() != edge[0, 0, 8].tobytes()


def test_one_level_has_tiles_of_one_size_at_its_only_scale(engines: Engines, demo_clip: ClipModel) -> None:
    one = {"tile_ratio_min": 0.5, "tile_ratio_max": 0.5, "tile_levels": 1}
    got = pyramid(engines, demo_clip, IMAGE, "sha256:one", **one)
    assert [(each.tile_size, each.stride, each.first_center) for each in got.levels] == [(24, 12, -0.5)]
    at = pyramid(engines, demo_clip, IMAGE, "sha256:one", scaled_points=[(11.5, 23.5, 0.5)], **one)
    np.testing.assert_allclose(at.features[0], got.features[2 * got.levels[0].grid_width + 1], atol=1e-6)


def test_small_tiles_are_made_larger_no_more_at_a_time_than_share_a_pass(
    engines: Engines, demo_clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    interpolated = F.interpolate

    def noted(tiles: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        together.append(len(tiles))
        return interpolated(tiles, *args, **options)

    monkeypatch.setattr(F, "interpolate", noted)
    got = pyramid(engines, demo_clip, IMAGE, **{**CUT, "tile_ratio_min": 0.15})
    assert got.levels[0].tiles > AT_ONCE == max(together)


def test_a_pyramid_that_nobody_waits_for_ends_between_its_tiles_and_is_not_kept(
    engines: Engines, demo_clip: ClipModel
) -> None:
    name, params = "sha256:left", EmbedPyramidParams(**CUT)
    asked = iter([True] * 4)
    prepared = [engines.prepare(EMBED_PYRAMID.rpc, models.item_of(IMAGE, digest=name), params, demo_clip)]
    with pytest.raises(Abandoned):
        engines.run(EMBED_PYRAMID.rpc, prepared, params, demo_clip, lambda: next(asked, False))
    assert next(asked, None) is None
    with pytest.raises(ContentWanted):
        models.answer(engines, EMBED_PYRAMID.rpc, PictureItem(digest=name), params, demo_clip)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_smaller_types_say_what_they_cost(
    engines: Engines, demo_clip: ClipModel, tiles: Pyramid, dtype: str
) -> None:
    got = pyramid(engines, demo_clip, IMAGE, "sha256:small", pyramid_dtype=dtype, **CUT)
    assert got.rounding is not None
    assert 0 < got.rounding.largest_error < 0.01
    assert got.features.nbytes == tiles.features.nbytes // (4 if dtype == "int8" else 2)
