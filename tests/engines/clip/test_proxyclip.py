"""ProxyCLIP's dense features equal its formula, and go by the DINO model that is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featsvc.engines.answers.dense import PreparedFeatures
from featsvc.engines.clip import recipes
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.errors import InvalidFields
from featsvc.v1.schema import ClipExtractFeaturesParams, ComputeSimilarityParams, Position, TextQuery
from featsvc.work.item import QueryItem
from featsvc.work.operations import COMPUTE_SIMILARITY, EXTRACT_CLIP
from featsvc.work.results import Features, Similarity
from tests.engines import models
from tests.engines.clip.plain import Plain, filled, normalised
from tests.engines.dino.test_operations import plain_descriptors, timms

PROXIED = {"load_size": -1, "dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
SIZES = ((100, 70), (112, 112), (60, 130))


def answer(engines: Engines, loaded: Loaded, size: tuple[int, int], **options: object) -> Features:
    params = ClipExtractFeaturesParams(**{**PROXIED, **options})
    result = models.answer(engines, EXTRACT_CLIP.rpc, models.picture_item(*size), params, loaded)
    assert isinstance(result, Features)
    return result


def alike(dino: DinoModel, size: tuple[int, int]) -> np.ndarray:
    """DINO's features behind its last norm, h x w x C."""
    tokens = plain_descriptors(dino, size, 14, ("token", 11))
    normed: np.ndarray = timms(dino.entry.key).norm(torch.from_numpy(tokens)).numpy()
    return normed


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain(models.plain_clip())


@pytest.fixture(scope="module")
def large(engines: Engines, vit_b16: ClipModel, dinov2: DinoModel) -> Loaded:
    """ViT-B-16 and ViT-S/14 with random weights."""
    return engines.together([vit_b16, dinov2])


@pytest.fixture(scope="module")
def demo(engines: Engines, demo_clip: ClipModel, demo_dino: DinoModel) -> Loaded:
    return engines.together([demo_clip, demo_dino])


@pytest.mark.parametrize("size", SIZES)
def test_features_are_the_formula_written_down_plainly(
    engines: Engines, large: Loaded, dinov2: DinoModel, plain: Plain, size: tuple[int, int]
) -> None:
    own = filled(normalised(np.asarray(models.picture(*size)), 14), 16)
    wanted = plain.proxied(own, alike(dinov2, size), 14)
    got = answer(engines, large, size)
    assert got.features.shape == wanted.shape == (-(-size[1] // 14), -(-size[0] // 14), 512)
    assert np.abs(got.features - wanted).max() < 1e-4


def test_where_nothing_is_alike_enough_each_cell_keeps_its_own(
    engines: Engines, large: Loaded, dinov2: DinoModel, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (60, 40)
    own = filled(normalised(np.asarray(models.picture(*size)), 14), 16)
    monkeypatch.setattr(recipes, "BETA", 50.0)
    wanted = plain.proxied(own, alike(dinov2, size), 14, beta=50.0)
    assert np.abs(answer(engines, large, size).features - wanted).max() < 1e-4


def test_scores_in_several_pieces_are_the_whole(
    engines: Engines, demo: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answer(engines, demo, (100, 70)).features
    monkeypatch.setattr(recipes, "SCORE_ELEMENTS", 40 * 7)
    np.testing.assert_allclose(answer(engines, demo, (100, 70)).features, whole, atol=1e-5)


@pytest.fixture
def rounding() -> Iterator[Any]:
    """Products in TF32, where a GPU has it."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, True
    yield products
    products.allow_tf32 = before


def test_scores_are_not_rounded_where_networks_multiply_in_tf32(
    rounding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, product = list[bool](), torch.Tensor.__matmul__

    def watched(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        rounds.append(rounding.allow_tf32)
        return product(one, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    monkeypatch.setattr(recipes, "step", lambda: rounds.append(rounding.allow_tf32))
    monkeypatch.setattr(recipes, "SCORE_ELEMENTS", 6 * 3)
    recipes._of_alike(F.normalize(torch.randn(1, 6, 4), dim=-1), torch.randn(1, 6, 8))
    assert rounds == [True, False, False] * 2, "what else runs at a step has its own way"
    assert rounding.allow_tf32


def test_a_picture_waits_as_its_bytes_which_are_the_same_to_both(engines: Engines, demo: Loaded) -> None:
    item, params = models.picture_item(100, 70), ClipExtractFeaturesParams(**PROXIED)
    prepared = engines.prepare(EXTRACT_CLIP.rpc, item, params, demo)
    assert isinstance(prepared, PreparedFeatures)
    assert (prepared.input.pixels.shape, prepared.input.pixels.dtype) == ((3, 70, 112), torch.uint8)


def test_the_finer_of_both_grids_is_bounded(
    engines: Engines, demo: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = models.engines(max_cells=100)
    assert answer(few, demo, (100, 70)).features.shape == (5, 8, 128)
    monkeypatch.setattr(ClipModel, "patch_size", 7)
    with pytest.raises(InvalidFields, match="load_size: makes 160 cells, at most 100"):
        answer(few, demo, (100, 70))


def test_windows_on_the_grid_of_dino_are_pictures_of_their_own(engines: Engines, demo: Loaded) -> None:
    image = models.picture(112, 70)
    total, seen = np.zeros((5, 8, 128)), np.zeros((5, 8, 1))
    for top in (0, 14):
        for left in (0, 28, 56):
            part = models.item_of(image.crop((left, top, left + 56, top + 56)))
            cells = np.s_[top // 14 : top // 14 + 4, left // 14 : left // 14 + 4]
            params = ClipExtractFeaturesParams(**PROXIED)
            total[cells] += models.vectors(models.answer(engines, EXTRACT_CLIP.rpc, part, params, demo))
            seen[cells] += 1
    got = answer(engines, demo, (112, 70), window_size=56, window_stride=28)
    np.testing.assert_allclose(got.features, total / seen, atol=1e-5)


def test_windows_that_do_not_lie_on_the_grid_of_dino_are_refused(engines: Engines, demo: Loaded) -> None:
    with pytest.raises(InvalidFields, match="no multiple of the patch size of demo-dino: 42 and 56 are"):
        answer(engines, demo, (112, 70), window_size=48)


def test_a_map_is_that_of_the_features(engines: Engines, demo: Loaded, demo_clip: ClipModel) -> None:
    query = QueryItem(models.picture_item(100, 70).image, query=TextQuery(text=("a red circle",)))
    params = ComputeSimilarityParams(**PROXIED, softmax=0)
    found = models.answer(engines, COMPUTE_SIMILARITY.rpc, query, params, demo)
    assert isinstance(found, Similarity)
    wanted = answer(engines, demo, (100, 70)).features @ models.embedding(engines, demo_clip, "a red circle")
    np.testing.assert_allclose(found.similarity_map, wanted, atol=1e-5)
    assert (found.geometry.patch_size, found.geometry.stride) == (14, 14)


def test_points_are_places_on_the_grid_of_dino(engines: Engines, demo: Loaded) -> None:
    whole = answer(engines, demo, (112, 70)).features
    centre = Position(x=14 * 3 + 6.5, y=14 * 2 + 6.5)
    (vector,) = answer(engines, demo, (112, 70), points=(centre,), dtype="float16").features
    np.testing.assert_allclose(vector, whole[2, 3].astype(np.float16), atol=1e-2)


def test_a_basis_of_colours_belongs_to_both_models(engines: Engines, demo: Loaded) -> None:
    found = answer(engines, demo, (112, 70), ret_pca=True, ret_pca_basis=True)
    assert found.pca_basis is not None
    assert found.pca_basis.startswith("pca1:demo-clip/proxyclip/demo-dino:")


def test_both_networks_are_counted_in_what_a_picture_costs(
    engines: Engines, demo: Loaded, demo_clip: ClipModel
) -> None:
    item = models.picture_item(112, 112)
    together, alone = ClipExtractFeaturesParams(**PROXIED), ClipExtractFeaturesParams(load_size=-1)
    costs = [
        engines.flop(engines.prepare(EXTRACT_CLIP.rpc, item, params, loaded))
        for params, loaded in ((together, demo), (alone, demo_clip))
    ]
    assert costs[0] > 2 * costs[1]
    with pytest.raises(InvalidFields, match="in demo-clip and demo-dino, at most"):
        answer(models.engines(max_tflop=1e-6), demo, (112, 112))
