"""A basis of several pictures: the same whichever of them is asked about, in whatever order, alone or among others."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from featsvc.engines.answers import dense
from featsvc.engines.answers.pca import Cells, Scaled, fitted_together
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.registry import Engines
from featsvc.errors import ContentWanted, InvalidFields
from featsvc.v1.schema import ClipExtractFeaturesParams, DinoExtractFeaturesParams, Orientation
from featsvc.work.item import FeaturesItem, PictureItem
from featsvc.work.operations import EXTRACT_CLIP, EXTRACT_DINO
from featsvc.work.results import Features
from tests.engines import models

FAMILIES = pytest.mark.parametrize(
    ("rpc", "kind", "fixture"),
    [
        (EXTRACT_CLIP.rpc, ClipExtractFeaturesParams, "demo_clip"),
        (EXTRACT_DINO.rpc, DinoExtractFeaturesParams, "demo_dino"),
    ],
)
PICTURES = tuple(
    PictureItem(models.encoded(models.picture(*size, seed)), digest=f"sha256:{name}")
    for seed, (name, size) in enumerate({"b": (100, 70), "c": (60, 90), "a": (80, 80)}.items())
)
NAMES = tuple(each.digest for each in PICTURES)


def item(of: int, others: Sequence[int]) -> FeaturesItem:
    """One of the pictures with others, as the gateway names them."""
    own = PICTURES[of]
    together = sorted({PICTURES[each] for each in others} - {own}, key=lambda each: each.digest)
    return FeaturesItem(own.image, own.digest, together=tuple(together))


class Asking:
    """Questions to one model."""

    def __init__(self, rpc: str, kind: Any, model: Any) -> None:
        self.rpc, self.kind, self.model = rpc, kind, model

    def params(self, others: Sequence[int], **options: object) -> Any:
        named = {"pca_digests": [NAMES[each] for each in others]} if others else {}
        return self.kind(**{"load_size": 64, "ret_pca": True, **named, **options})

    def ask(self, engines: Engines, of: int, others: Sequence[int], **options: object) -> Features:
        return self.answer(engines, item(of, others), self.params(others, **options))

    def answer(self, engines: Engines, asked: FeaturesItem, params: Any) -> Features:
        answer = models.answer(engines, self.rpc, asked, params, self.model)
        assert isinstance(answer, Features)
        return answer


@pytest.fixture
def dino(demo_dino: Any) -> Asking:
    return Asking(EXTRACT_DINO.rpc, DinoExtractFeaturesParams, demo_dino)


@FAMILIES
@pytest.mark.parametrize("options", [{}, {"ret_patches": False}, {"pca_foreground": True}], ids=str)
def test_the_components_are_those_of_all_pictures_together(
    request: pytest.FixtureRequest, rpc: str, kind: Any, fixture: str, options: dict[str, bool]
) -> None:
    asking, engines = Asking(rpc, kind, request.getfixturevalue(fixture)), models.engines()
    of_cells = {name: value for name, value in options.items() if name == "ret_patches"}
    features = [asking.ask(engines, each, (), ret_pca=False, **of_cells).features for each in range(3)]
    wanted = plain_colours(features, is_foreground="pca_foreground" in options)
    for of, colours in enumerate(wanted):
        found = asking.ask(engines, of, (0, 1, 2), **options).features
        assert found.shape == colours.shape
        np.testing.assert_allclose(found, colours, atol=2e-4)
    alone = asking.ask(engines, 0, (), **options).features
    assert np.abs(alone - wanted[0]).max() > 0.05


def plain_colours(features: Sequence[np.ndarray], is_foreground: bool) -> list[np.ndarray]:
    """The colours written down once more, by the covariance of all cells."""
    parts = [each.reshape(-1, each.shape[-1]).astype(np.float64) for each in features]
    every = np.concatenate(parts)
    shown = np.ones(len(every), bool)
    if is_foreground:
        mean, axis = every.mean(axis=0), axes_of(every)[0]
        borders = []
        for each in features:
            border = np.ones(each.shape[:2], bool)
            border[1:-1, 1:-1] = False
            borders.append(border.ravel())
        side = (every - mean) @ axis
        at_border = side[np.concatenate(borders)]
        shown = side < 0 if (at_border > 0).mean() > 0.5 else side > 0
    mean, axes = every[shown].mean(axis=0), axes_of(every[shown])
    values = (every - mean) @ axes.T
    low, high = np.quantile(values[shown], (0.01, 0.99), axis=0)
    colours = np.clip((values - low) / (high - low), 0, 1) * shown[:, None]
    split = np.split(colours, np.cumsum([len(each) for each in parts])[:-1])
    return [one.reshape(*each.shape[:2], 3) for one, each in zip(split, features, strict=True)]


def axes_of(rows: np.ndarray) -> np.ndarray:
    """The three strongest, 3 x D."""
    _, columns = np.linalg.eigh(np.cov(rows, rowvar=False))
    found = columns.T[::-1][:3]
    axes: np.ndarray = np.stack([row if row[np.abs(row).argmax()] > 0 else -row for row in found])
    return axes


@FAMILIES
def test_neither_order_nor_who_asks_nor_what_is_kept_changes_a_byte(
    request: pytest.FixtureRequest, rpc: str, kind: Any, fixture: str
) -> None:
    asking, engines = Asking(rpc, kind, request.getfixturevalue(fixture)), models.engines()
    first = asking.ask(engines, 0, (1, 2), ret_pca_basis=True)
    assert first.pca_basis is not None
    for others in ((2, 1), (1, 0, 2, 2, 1)):
        cold = asking.ask(models.engines(), 0, others, ret_pca_basis=True)
        assert (cold.features.tobytes(), cold.pca_basis) == (first.features.tobytes(), first.pca_basis)
    assert asking.ask(engines, 0, (1, 2)).features.tobytes() == first.features.tobytes()
    second = asking.ask(models.engines(), 1, (0, 2), ret_pca_basis=True)
    assert second.pca_basis == first.pca_basis
    by_name = asking.ask(engines, 1, (), pca_basis=first.pca_basis)
    assert by_name.features.tobytes() == second.features.tobytes()


@pytest.mark.parametrize(("kept", "hits"), [({}, 3), ({"basis_cache": 0}, 0)], ids=["kept", "forgotten"])
def test_of_several_that_wait_the_first_brings_the_pictures_and_fits(
    dino: Asking, monkeypatch: pytest.MonkeyPatch, kept: dict[str, int], hits: int
) -> None:
    engines, params = models.engines(**kept), dino.params((0, 1, 2))
    items = [item(of, (0, 1, 2)) for of in range(3)]
    count = 0

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return decoded(*args)

    monkeypatch.setattr(dense, "decoded", counted)
    prepared = [engines.prepare(dino.rpc, each, params, dino.model) for each in items]
    assert count == 5, "three for the first, and its own for each of the others"
    together = list(engines.run(dino.rpc, prepared[:2], params, dino.model))
    late = engines.prepare(dino.rpc, items[2], params, dino.model)
    assert 2 * engines.flop(late) < engines.flop(prepared[2]), "what it waits beside has the basis"
    together += engines.run(dino.rpc, prepared[2:], params, dino.model)
    for of, answer in enumerate(together):
        assert isinstance(answer, Features)
        alone = dino.ask(models.engines(), of, (0, 1, 2))
        assert answer.features.tobytes() == alone.features.tobytes()
    (bases,) = (each for each in engines.caches() if each.name == "pca_bases")
    assert (bases.misses, bases.hits, bases.entries) == (1, hits, min(1, hits)), "the others have it"


def test_on_a_gpu_no_other_shares_a_pass_with_a_picture_of_several(dino: Asking) -> None:
    engines, asked = models.engines(), item(0, (0, 1, 2))
    engines = replace(engines, options=replace(engines.options, device="mps"))

    def keys(params: Any) -> set[Any]:
        """Of three that are alike."""
        made = [engines.prepare(dino.rpc, asked, params, dino.model) for _ in range(3)]
        return {engines.batch_key(each) for each in made}

    assert len(keys(dino.params(()))) == 1
    cold = keys(dino.params((0, 1, 2)))
    dino.ask(engines, 0, (0, 1, 2))
    warm = keys(dino.params((0, 1, 2)))
    assert (len(cold), len(warm)) == (3, 3)


def test_features_of_a_picture_are_let_go_before_the_next_are_made() -> None:
    made = list[weakref.ref[torch.Tensor]]()

    def cells() -> Iterator[Cells]:
        for seed in range(3):
            assert all(each() is None for each in made)
            features = torch.rand(6, 5, 8, generator=torch.Generator().manual_seed(seed))
            made.append(weakref.ref(features))
            picture = Cells(features)
            del features
            yield picture
            del picture

    basis = fitted_together(cells(), Scaled(0.0, 1.0))
    assert len(made) == 3
    assert basis.axes.shape == (8, 3)


def test_a_basis_that_is_kept_needs_the_other_pictures_no_more(dino: Asking) -> None:
    engines, params = models.engines(), dino.params((0, 1, 2))
    first = dino.ask(engines, 0, (0, 1, 2))
    whole = item(0, (0, 1, 2))
    named = replace(whole, together=tuple(replace(each, image=b"") for each in whole.together))
    assert dino.answer(engines, named, params).features.tobytes() == first.features.tobytes()
    with pytest.raises(ContentWanted):
        models.engines().prepare(dino.rpc, named, params, dino.model)
    kept = engines.prepare(dino.rpc, named, params, dino.model)
    cold = models.engines().prepare(dino.rpc, whole, params, dino.model)
    assert engines.flop(cold) > 2 * engines.flop(kept)
    # In another form, or named: the basis is the same.
    dino.ask(engines, 0, (0, 1, 2), dtype="float16", tensor_format="CHW", ret_pca_basis=True)
    (bases,) = (each for each in engines.caches() if each.name == "pca_bases")
    assert bases.entries == 1
    forgetful = models.engines(basis_cache=0)
    assert dino.ask(forgetful, 0, (0, 1, 2)).features.tobytes() == first.features.tobytes()


@pytest.mark.parametrize(
    "options", [{"load_size": 48}, {"facet": "key"}, {"pca_q_min": 0.2}, {"ret_patches": False}], ids=str
)
def test_what_changes_the_basis_asks_for_another(dino: Asking, options: dict[str, object]) -> None:
    engines = models.engines()
    dino.ask(engines, 0, (1,))
    warm = dino.ask(engines, 0, (1,), **options)
    assert warm.features.tobytes() == dino.ask(models.engines(), 0, (1,), **options).features.tobytes()


def test_pictures_that_are_turned_have_another_basis(dino: Asking) -> None:
    engines, params, stored = models.engines(), dino.params((1,)), item(0, (1,))
    turned = replace(stored, orientation=Orientation.SHOWN)
    dino.answer(engines, stored, params)
    dino.answer(engines, turned, params)
    (bases,) = (each for each in engines.caches() if each.name == "pca_bases")
    assert bases.entries == 2


def test_pictures_without_a_name_share_no_basis(dino: Asking) -> None:
    engines, params = models.engines(), dino.params((1,))
    one, other = (replace(item(each, (1,)), digest="") for each in (0, 2))
    first = dino.answer(engines, one, params)
    dino.answer(engines, other, params)
    found = dino.answer(engines, other, params)
    assert found.features.tobytes() == dino.answer(models.engines(), other, params).features.tobytes()
    assert found.features.tobytes() != first.features.tobytes()


@pytest.mark.parametrize(
    ("limits", "options", "told"),
    [
        ({"max_feature_bytes": 1 << 15}, {}, "max-feature-bytes"),
        ({"max_feature_bytes": 1 << 17}, {"ret_patches": False}, "take ret_patches true"),
        ({"max_pca_side": 40}, {}, "max-pca-side"),
        ({"max_tflop": 0.0001}, {}, "max-tflop"),
        ({"max_cells": 30}, {}, "sha256:b: load_size makes"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_too_much_together_is_refused_by_name_and_limit(
    dino: Asking, limits: dict[str, Any], options: dict[str, Any], told: str
) -> None:
    engines = models.engines(**limits)
    dino.ask(engines, 2, (), **options)
    with pytest.raises(InvalidFields, match=told) as caught:
        engines.prepare(dino.rpc, item(2, (0, 1, 2)), dino.params((0, 1, 2), **options), dino.model)
    assert [each.field for each in caught.value.violations] == ["params.pca_digests"]
