"""What may be asked of a pyramid, what that costs, and what is refused in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.tiles import levels_of
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import EmbedPyramidParams
from featsvc.work.item import PictureItem
from featsvc.work.operations import EMBED_PYRAMID
from rest_shim.reply import replies
from tests.engines import models
from tests.engines.clip.pyramids import CUT, IMAGE, pyramid

(SHAPE,) = replies.EmbeddedTiles.model_fields["shape"].examples or [[0, 0]]
"""Of the documented answer."""


@pytest.mark.parametrize("ends", [(0.2, 0.8), (0.7, 0.9)])
def test_the_scale_of_each_level_can_be_asked_for_and_the_parameters_themselves(
    engines: Engines, demo_clip: ClipModel, ends: tuple[float, float]
) -> None:
    name, (least, most) = f"sha256:{ends}", ends
    cut = {"tile_ratio_min": least, "tile_ratio_max": most, "tile_levels": 2, "tile_stride_ratio": 1}
    scales = [each.tile_ratio for each in pyramid(engines, demo_clip, IMAGE, name, **cut).levels]
    assert scales != [least, most], "float32 beside float64"
    at = [(1, 1, scale) for scale in (scales[0], least, scales[1], most)]
    got = pyramid(engines, demo_clip, IMAGE, name, scaled_points=at, **cut).features
    np.testing.assert_allclose(got[::2], got[1::2], atol=1e-5)
    grid = {"width": 1, "height": 1, "scales": scales}
    assert len(pyramid(engines, demo_clip, IMAGE, name, scaled_grid=grid, **cut).features) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tile_ratio_min": 0.01}, r"tile_ratio_min: makes tiles of 0 pixels every 0 .* 48 pixels high"),
        (
            {"tile_ratio_min": 0.03, "tile_stride_ratio": 1},
            r"tile_ratio_min: makes \d+ tiles .* 500 \(--max-crops",
        ),
        (
            {"scaled_points": [(64, 2, 0.5)]},
            r"scaled_points\[0\]: \(64, 2, 0.5\) is outside .* 64 x 48 pixels",
        ),
        ({"scaled_points": [(63.00001, 1, 0.5)]}, r"\(63.00001, 1, 0.5\) is outside"),
        (
            {"scaled_points": [(0, 0, 0.4), (1, 1, 0.3999999)]},
            r"no scale 0.3999999: tile_ratio_min is 0.4 and",
        ),
        ({"scaled_points": [(0, 0, 0.4), (1, 1, 0.39)]}, r"scaled_points\[1\]: there is no scale 0.39"),
        (
            {"scaled_grid": {"width": 1, "height": 1, "scales": [0.5, 0.81]}},
            r"scaled_grid.scales\[1\]: .* 0.81",
        ),
    ],
)
def test_what_cannot_be_answered_names_the_field_and_the_limit(
    engines: Engines, demo_clip: ClipModel, options: dict[str, Any], told: str
) -> None:
    few = replace(engines, options=replace(engines.options, max_crops=500))
    with pytest.raises(InvalidFields, match=told):
        pyramid(few, demo_clip, IMAGE, **{**CUT, **options})


def test_tiles_that_cost_too_much_or_are_too_large_are_refused(
    engines: Engines, demo_clip: ClipModel
) -> None:
    def limited(**limits: Any) -> Engines:
        return replace(engines, options=replace(engines.options, **limits))

    with pytest.raises(
        InvalidFields, match=r"tiles of this picture, which cost .* at most 0.1 .*--max-tflop"
    ):
        pyramid(limited(max_tflop=0.001), demo_clip, IMAGE, **CUT)
    tall = models.picture(2, 500)
    with pytest.raises(
        InvalidFields,
        match=r"tile_ratio_max: makes tiles of 400 x 400 pixels, at most 1000 .*--max-image-pixels",
    ):
        pyramid(limited(max_image_pixels=1000), demo_clip, tall, **CUT)
    with pytest.raises(ReplyTooLarge, match="pyramid_dtype float16 or fewer levels makes it fit"):
        pyramid(limited(max_reply_bytes=1000), demo_clip, IMAGE, **CUT)
    # What is kept costs nothing any more, but for what points make of it.
    pyramid(engines, demo_clip, IMAGE, "sha256:paid", **CUT)
    pyramid(limited(max_tflop=0.001), demo_clip, IMAGE, "sha256:paid", **CUT)


def test_what_large_tiles_and_points_cost_is_counted_and_nothing_of_tiles_that_are_kept(
    engines: Engines, demo_clip: ClipModel
) -> None:
    def flop(item: PictureItem, **options: Any) -> float:
        params = EmbedPyramidParams(**CUT, **options)
        return engines.flop(engines.prepare(EMBED_PYRAMID.rpc, item, params, demo_clip))

    twice = models.picture(2 * IMAGE.width, 2 * IMAGE.height)
    assert flop(models.item_of(twice)) > flop(models.item_of(IMAGE))
    pyramid(engines, demo_clip, IMAGE, "sha256:costs", **CUT)
    kept = PictureItem(digest="sha256:costs")
    one = flop(kept, scaled_points=[(1, 1, 0.5)])
    assert flop(kept) == 0 < one
    grid = {"width": 20, "height": 10, "scales": [0.4, 0.5]}
    assert flop(kept, scaled_grid=grid) == 400 * one
    asked = (EmbedPyramidParams(**CUT, **options) for options in ({}, {"scaled_grid": grid}))
    prepared = (engines.prepare(EMBED_PYRAMID.rpc, kept, params, demo_clip) for params in asked)
    # Three float32 are a pixel.
    assert [engines.pixels(each) for each in prepared] == [0, 400 * 128 * 4 // 12]


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((1920, 1080), 1529),
        ((1080, 1920), 516),
        ((640, 480), 1169),
        ((3200, 2400), 1148),
        ((320, 240), 1259),
        ((80, 60), 1893),
        ((256, 256), 1016),
        ((1800, 1200), SHAPE[0]),
    ],
)
def test_the_documented_numbers_of_tiles_are_those_of_the_defaults(size: tuple[int, int], count: int) -> None:
    width, height = size
    assert sum(each.tiles for each in levels_of((height, width), EmbedPyramidParams())) == count
    levels_of((40, 40), EmbedPyramidParams())
    with pytest.raises(InvalidFields, match="39 pixels high: take a larger one"):
        levels_of((39, 39), EmbedPyramidParams())
