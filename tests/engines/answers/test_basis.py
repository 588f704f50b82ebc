"""A basis of principal components that is kept: other pictures in the same colours, and only the foreground."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from featsvc.engines.answers.axes import Target
from featsvc.engines.answers.basis import named
from featsvc.engines.answers.pca import Scaled, colours, fitted, projected
from featsvc.engines.registry import Engines
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import ClipExtractFeaturesParams, DinoExtractFeaturesParams, InterpolationMode
from featsvc.work.item import PictureItem
from featsvc.work.operations import EXTRACT_CLIP, EXTRACT_DINO
from featsvc.work.results import Features
from tests.engines import models
from tests.engines.answers.test_pca import GEOMETRY, features

SPACE = "demo-clip/maskclip"
PARAMS = {
    "demo_clip": (EXTRACT_CLIP.rpc, ClipExtractFeaturesParams),
    "demo_dino": (EXTRACT_DINO.rpc, DinoExtractFeaturesParams),
}


def coloured(engines: Engines, model: Any, fixture: str, seed: int = 0, **options: object) -> Features:
    rpc, kind = PARAMS[fixture]
    params = kind(**{"load_size": -1, "ret_pca": True, **options})
    answer = models.answer(engines, rpc, models.picture_item(100, 70, seed), params, model)
    assert isinstance(answer, Features)
    return answer


@pytest.mark.parametrize("fixture", PARAMS)
@pytest.mark.parametrize("options", [{}, {"ret_patches": False}, {"pca_foreground": True}])
def test_the_same_picture_in_its_own_basis_is_the_same_bytes(
    engines: Engines, request: pytest.FixtureRequest, fixture: str, options: dict[str, bool]
) -> None:
    model = request.getfixturevalue(fixture)
    first = coloured(engines, model, fixture, ret_pca_basis=True, **options)
    assert first.pca_basis
    without = {name: value for name, value in options.items() if name != "pca_foreground"}
    again = coloured(engines, model, fixture, pca_basis=first.pca_basis, **without)
    assert again.features.tobytes() == first.features.tobytes()
    assert again.pca_basis is None
    plain = coloured(engines, model, fixture, **options)
    assert plain.pca_basis is None
    np.testing.assert_allclose(plain.features, first.features, atol=1e-4)


def test_another_picture_is_projected_on_the_same_axes(engines: Engines, demo_clip: Any) -> None:
    first = coloured(engines, demo_clip, "demo_clip", ret_pca_basis=True)
    other = coloured(
        engines, demo_clip, "demo_clip", seed=1, pca_basis=first.pca_basis, pca_q_min=0.4, ret_pca_basis=True
    )
    assert other.pca_basis == first.pca_basis
    cells = [coloured(engines, demo_clip, "demo_clip", seed, ret_pca=False).features for seed in (0, 1)]
    flat = cells[0].reshape(-1, 128).astype(np.float64)
    _, _, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    for index, row in enumerate(rows[:3]):
        axis = row if row[np.abs(row).argmax()] > 0 else -row
        low, high = np.quantile((flat - flat.mean(axis=0)) @ axis, (0.01, 0.99))
        wanted = np.clip(((cells[1] - flat.mean(axis=0)) @ axis - low) / (high - low), 0, 1)
        np.testing.assert_allclose(other.features[..., index], wanted, atol=1e-4)
    own = coloured(engines, demo_clip, "demo_clip", seed=1)
    assert np.abs(own.features - other.features).max() > 0.05


def spotted() -> torch.Tensor:
    """Cells about one vector, but for a block in the middle that is about another."""
    generator = torch.Generator().manual_seed(3)
    cells = 0.3 * torch.randn(5, 7, 12, generator=generator) + 2
    cells[1:4, 2:5] += torch.linspace(-4, 4, 12)
    return cells


@pytest.mark.parametrize("sign", [1, -1])
def test_the_foreground_is_what_keeps_from_the_border(sign: int) -> None:
    cells = sign * spotted()
    basis, projection = fitted(cells, Scaled(0.0, 1.0, is_foreground=True))
    assert projection.is_shown is not None
    inside = np.zeros((5, 7), bool)
    inside[1:4, 2:5] = True
    np.testing.assert_array_equal(projection.is_shown.numpy(), inside)
    found = colours(projection, basis)
    assert (found[~inside] == 0).all()
    # The components are those of the foreground by itself.
    alone = cells[1:4, 2:5]
    own, of_own = fitted(alone, Scaled(0.0, 1.0))
    np.testing.assert_allclose(found[1:4, 2:5], colours(of_own, own), atol=1e-5)


def test_pixels_of_the_foreground_are_those_beyond_the_divide() -> None:
    target = Target(GEOMETRY, InterpolationMode.BILINEAR)
    basis, projection = fitted(spotted(), Scaled(0.01, 0.99, is_foreground=True), target)
    found = colours(projection, basis)
    assert found.shape == (37, 52, 3)
    shown = found.any(axis=-1)
    assert shown[12:28, 20:36].mean() > 0.9
    assert not shown[:5].any()
    assert not shown[:, :10].any()


def test_cells_that_are_all_alike_have_no_background() -> None:
    basis, projection = fitted(torch.full((4, 5, 8), 3.7), Scaled(0.01, 0.99, is_foreground=True))
    assert projection.is_shown is not None
    assert projection.is_shown.all()
    assert (colours(projection, basis) == 0).all()


def test_a_component_that_is_not_there_stays_away_in_other_pictures() -> None:
    flat = features()[:, :, :1] * torch.linspace(1, 2, 12)
    basis = fitted(flat, Scaled(0.01, 0.99)).basis.rounded()
    found = colours(projected(features(seed=1), basis), basis)
    assert (found[..., 1:] == 0).all()
    assert found[..., 0].std() > 0


def name() -> str:
    return fitted(features(), Scaled(0.01, 0.99)).basis.name(SPACE)


@pytest.mark.parametrize(
    ("changed", "space", "channels", "told"),
    [
        (lambda text: "nonsense", SPACE, 12, "no name of a basis"),
        (lambda text: text.replace("pca1", "pca9"), SPACE, 12, "no name of a basis"),
        (lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"), SPACE, 12, "damaged"),
        (lambda text: text.replace("A", "B"), SPACE, 12, "damaged"),
        (lambda text: text.replace(":demo-clip", ":other"), SPACE, 12, "damaged"),
        (lambda text: text, "demo-clip/sclip", 12, "of the features demo-clip/maskclip"),
        (lambda text: text, SPACE, 13, "damaged"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(changed: Any, space: str, channels: int, told: str) -> None:
    named(name(), SPACE, 12)
    with pytest.raises(InvalidFields, match=told) as caught:
        named(changed(name()), space, channels)
    assert [each.field for each in caught.value.violations] == ["params.pca_basis"]


@pytest.mark.parametrize("content", [b"", b"abc", b"abcd" * 54, b"abcd" * 54 + b"e"])
def test_a_name_of_another_size_is_refused_though_its_checksum_is_right(content: bytes) -> None:
    text = base64.urlsafe_b64encode(content).decode().rstrip("=")
    made = f"pca1:{SPACE}:{text}:{zlib.crc32(content, zlib.crc32(SPACE.encode())):08x}"
    with pytest.raises(InvalidFields, match="pca_basis"):
        named(made, SPACE, 13)


def test_what_another_basis_is_of_is_told_in_few_letters() -> None:
    made = fitted(features(), Scaled(0.01, 0.99)).basis.name("x" * 10_000)
    with pytest.raises(InvalidFields) as caught:
        named(made, SPACE, 12)
    assert len(caught.value.message) < 300


def test_numbers_that_are_none_are_refused() -> None:
    basis = fitted(features(), Scaled(0.01, 0.99)).basis
    basis.mean[0] = torch.nan
    with pytest.raises(InvalidFields, match="damaged"):
        named(basis.name(SPACE), SPACE, 12)


def test_a_basis_is_judged_before_the_device_works(demo_clip: Any) -> None:
    few = models.engines(max_pca_side=8)
    item = PictureItem(models.picture_item(100, 70).image)
    with pytest.raises(InvalidFields, match=r"params\.pca_basis"):
        few.prepare(EXTRACT_CLIP.rpc, item, ClipExtractFeaturesParams(ret_pca=True, pca_basis="x"), demo_clip)
    with pytest.raises(ReplyTooLarge, match="components of"):
        coloured(few, demo_clip, "demo_clip")
    # A basis that is there needs no matrix of so many rows.
    basis = coloured(models.engines(), demo_clip, "demo_clip", ret_pca_basis=True).pca_basis
    assert coloured(few, demo_clip, "demo_clip", pca_basis=basis).features.shape == (5, 7, 3)
