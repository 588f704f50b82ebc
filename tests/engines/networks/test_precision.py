"""Networks in smaller types: how far their answers go from float32, and what stays in float32."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks import attention
from featsvc.engines.networks.attention import attended
from featsvc.engines.networks.precision import NORMS, Float32Norm, dtype_of, lowered
from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema
from featsvc.v1.schema import Facet, Texts
from featsvc.work.item import TextItem
from featsvc.work.operations import ENCODE_IMAGE, ENCODE_TEXT, EXTRACT_CLIP, EXTRACT_DINO
from tests.engines import models

SMALL: tuple[Precision, ...] = ("bf16", "fp16")
ITEM = models.picture_item(100, 64)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of the vectors along the last axis."""
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return (ours * theirs).sum(axis=-1) / lengths


def close(ours: object, theirs: object) -> bool:
    """At least 0.999 in the mean, and a bound for the worst vector."""
    first, second = models.vectors(ours), models.vectors(theirs)
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    found = cosines(first, second)
    return bool(found.mean() >= 0.999 and found.min() >= 0.99)


@pytest.mark.parametrize("precision", SMALL)
def test_clip_in_a_smaller_type_answers_nearly_the_same(
    engines: Engines, demo_clip: ClipModel, precision: Precision
) -> None:
    small = models.engines(precision=precision)
    loaded = small.load("demo-clip")
    texts = TextItem(Texts(text=("a red circle", "a blue star and a green ring")))
    for operation, params, item in (
        (EXTRACT_CLIP.rpc, schema.ClipExtractFeaturesParams(load_size=112), ITEM),
        (ENCODE_IMAGE.rpc, schema.EncodeImageParams(), ITEM),
        (ENCODE_TEXT.rpc, schema.EncodeTextParams(), texts),
    ):
        ours = models.answer(small, operation, item, params, loaded)
        assert close(ours, models.answer(engines, operation, item, params, demo_clip)), operation


@pytest.mark.parametrize("precision", SMALL)
@pytest.mark.parametrize("facet", list(Facet))
def test_dino_in_a_smaller_type_answers_nearly_the_same(
    engines: Engines, demo_dino: DinoModel, precision: Precision, facet: Facet
) -> None:
    small = models.engines(precision=precision)
    params = schema.DinoExtractFeaturesParams(facet=facet, stride=7, layer=4)
    ours = models.answer(small, EXTRACT_DINO.rpc, ITEM, params, small.load("demo-dino"))
    assert close(ours, models.answer(engines, EXTRACT_DINO.rpc, ITEM, params, demo_dino))


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
def test_a_real_dino_in_bfloat16_keeps_its_directions(engines: Engines, name: str) -> None:
    params = schema.DinoExtractFeaturesParams()
    plain, small = models.random_dino(name), models.random_dino(name, precision="bf16")
    ours, theirs = (models.answer(engines, EXTRACT_DINO.rpc, ITEM, params, each) for each in (small, plain))
    assert close(ours, theirs)


def test_a_real_clip_in_bfloat16_keeps_its_directions(engines: Engines, vit_b16: ClipModel) -> None:
    params = schema.ClipExtractFeaturesParams(load_size=64)
    small = models.random_clip(precision="bf16")
    ours, theirs = (models.answer(engines, EXTRACT_CLIP.rpc, ITEM, params, each) for each in (small, vit_b16))
    assert close(ours, theirs)


def test_norms_keep_their_weights_in_float32_and_nothing_else_does() -> None:
    small = models.random_clip(precision="bf16")
    network = small.network
    inside = {
        id(tensor) for each in network.modules() if isinstance(each, NORMS) for tensor in each.parameters()
    }
    for name, tensor in network.named_parameters():
        assert tensor.dtype is (torch.float32 if id(tensor) in inside else torch.bfloat16), name
    assert len(inside) == 2 * (3 + 2 * 24)
    plain = sum(each.numel() * each.element_size() for each in models.plain_clip().parameters())
    assert small.nbytes < 0.51 * plain


def test_a_model_in_float32_is_left_as_it_is() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    before = copy.deepcopy(network.state_dict())
    assert lowered(network, torch.float32) is network
    assert list(network.state_dict()) == list(before)
    assert dtype_of(network) is torch.float32


class Tenfold(nn.Module):
    """A library's own norm."""

    def forward(self, values: Tensor) -> Tensor:
        """In float32 only, as LayerNorm of CUDA."""
        assert values.dtype is torch.float32
        return values * 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_any_norm_computes_in_float32_and_answers_in_the_type_of_the_rest(dtype: torch.dtype) -> None:
    norms = (nn.LayerNorm(5), nn.GroupNorm(1, 8), nn.BatchNorm2d(8), nn.RMSNorm(5), Tenfold())
    network = lowered(nn.Sequential(*norms).eval(), dtype, norms=(Tenfold,))
    values = torch.randn(2, 8, 4, 5).to(dtype)
    for ours, theirs in zip(network, norms, strict=True):
        assert isinstance(ours, Float32Norm)
        assert ours(values).dtype is dtype
        torch.testing.assert_close(
            ours(values), theirs.eval()(values.float()).to(dtype), rtol=2**-7, atol=1e-6
        )


def test_lowering_twice_changes_nothing_more() -> None:
    network = lowered(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), torch.bfloat16)
    names = list(lowered(network, torch.bfloat16).state_dict())
    assert names == ["0.weight", "0.bias", "1.norm.weight", "1.norm.bias"]
    assert dtype_of(network) is torch.bfloat16


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("places", "block"), [(5, 1 << 21), (37, 1 << 21), (37, 500), (37, 20)])
def test_attention_in_blocks_is_attention(
    places: int, block: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", block)
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 3, places, 16).bfloat16()
    mask = torch.full((places, places), -torch.inf).triu_(1) if masked else None
    wanted = nn.functional.scaled_dot_product_attention(queries.float(), keys.float(), values.float(), mask)
    got = attended(queries, keys, values, mask)
    assert got.dtype is torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=0.02, atol=0.02)
