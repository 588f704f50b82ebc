"""Dense features by recipe and by window equal computations written down plainly."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.engines.clip import recipes
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields
from featsvc.v1.schema import ClipExtractFeaturesParams, ComputeSimilarityParams, DenseRecipe, TextQuery
from featsvc.work.item import QueryItem
from featsvc.work.operations import COMPUTE_SIMILARITY, EXTRACT_CLIP
from featsvc.work.results import Floats, Similarity
from tests.engines import models
from tests.engines.clip.plain import Plain, normalised

WIDTH, HEIGHT = 100, 70
RECIPES = [each.value for each in DenseRecipe if each is not DenseRecipe.PROXYCLIP]
"""Those of CLIP alone; of the other asks test_proxyclip."""


def features(engines: Engines, model: ClipModel, **options: object) -> Floats:
    params = ClipExtractFeaturesParams(**{"load_size": -1, **options})
    result = models.answer(engines, EXTRACT_CLIP.rpc, models.picture_item(WIDTH, HEIGHT), params, model)
    return models.vectors(result)


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain(models.plain_clip())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_its_formula_written_down_plainly(
    engines: Engines, vit_b16: ClipModel, plain: Plain, recipe: str
) -> None:
    wanted = plain.features(np.asarray(models.picture(WIDTH, HEIGHT)), recipe)
    got = features(engines, vit_b16, dense_recipe=recipe)
    assert got.shape == wanted.shape == (5, 7, 512)
    assert np.abs(got - wanted).max() < 1e-4


def test_no_two_recipes_are_the_same(engines: Engines, vit_b16: ClipModel) -> None:
    every = [features(engines, vit_b16, dense_recipe=each) for each in RECIPES]
    assert min(np.abs(one - other).max() for i, one in enumerate(every) for other in every[:i]) > 1e-2


def test_nearness_in_several_pieces_is_the_whole(
    engines: Engines, vit_b16: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = features(engines, vit_b16, dense_recipe="naclip")
    monkeypatch.setattr(recipes, "MASK_ELEMENTS", 35 * 8)
    np.testing.assert_allclose(features(engines, vit_b16, dense_recipe="naclip"), whole, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(48, 16), (48, 32), (64, None), (256, 64)])
def test_windows_are_computed_by_themselves_and_their_overlaps_averaged(
    engines: Engines, vit_b16: ClipModel, plain: Plain, window: int, stride: int | None
) -> None:
    pixels = normalised(np.asarray(models.picture(WIDTH, HEIGHT)))
    height, width = pixels.shape[:2]
    total, seen = np.zeros((height // 16, width // 16, 512)), np.zeros((height // 16, width // 16, 1))
    step = stride or window // 2
    # As the segmenters of SCLIP and NACLIP place their windows.
    for row in range(max(height - window + step - 1, 0) // step + 1):
        for column in range(max(width - window + step - 1, 0) // step + 1):
            bottom, right = min(row * step + window, height), min(column * step + window, width)
            top, left = max(bottom - window, 0), max(right - window, 0)
            part = plain.of_normalised(pixels[top:bottom, left:right], "clearclip")
            cells = np.s_[top // 16 : bottom // 16, left // 16 : right // 16]
            total[cells] += part
            seen[cells] += 1
    got = features(engines, vit_b16, dense_recipe="clearclip", window_size=window, window_stride=stride)
    assert np.abs(got - total / seen).max() < 1e-4


def test_a_map_is_that_of_the_recipe_and_its_windows(engines: Engines, demo_clip: ClipModel) -> None:
    options = {"dense_recipe": "sclip", "window_size": 32, "window_stride": 16}
    query = QueryItem(models.picture_item(WIDTH, HEIGHT).image, query=TextQuery(text=("a red circle",)))
    params = ComputeSimilarityParams(load_size=-1, softmax=0, **options)
    found = models.answer(engines, COMPUTE_SIMILARITY.rpc, query, params, demo_clip)
    assert isinstance(found, Similarity)
    text = models.embedding(engines, demo_clip, "a red circle")
    wanted = features(engines, demo_clip, **options) @ text
    np.testing.assert_allclose(found.similarity_map, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"window_size": 50}, "params.window_size", "48 and 64 are"),
        ({"window_size": 48, "window_stride": 40}, "params.window_stride", "32 and 48 are"),
        ({"window_size": 8}, "params.window_size", "16 and 32 are"),
    ],
)
def test_windows_that_do_not_lie_on_the_grid_are_refused(
    engines: Engines, demo_clip: ClipModel, options: dict[str, int], field: str, told: str
) -> None:
    with pytest.raises(InvalidFields, match=told) as caught:
        features(engines, demo_clip, **options)
    assert [each.field for each in caught.value.violations] == [field]


def test_what_windows_cost_is_limited(demo_clip: ClipModel) -> None:
    whole = models.engines(max_tflop=0.0001)
    features(whole, demo_clip)
    with pytest.raises(InvalidFields, match="--max-tflop"):
        features(whole, demo_clip, window_size=64, window_stride=16)


def test_very_many_small_windows_are_refused(engines: Engines, demo_clip: ClipModel) -> None:
    picture = {"load_size": 640, "window_size": 16, "window_stride": 16}
    with pytest.raises(InvalidFields, match="windows of this picture, at most 1024") as caught:
        features(engines, demo_clip, **picture)
    assert [each.field for each in caught.value.violations] == ["params.window_size"]
