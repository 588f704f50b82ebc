"""Packed linear layers: the same numbers as torch's, the same bytes in any company."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.networks.packed import PackedLinear, SteppedLinear, packable, packed
from tests.engines import models


def layer(wide: int = 96, out: int = 40, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(wide, out, bias=bias, dtype=dtype).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (2, 145, 96), (3, 2, 8, 96)])
def test_a_packed_layer_answers_as_torch_does(shape: tuple[int, ...], bias: bool) -> None:
    plain = layer(bias=bias)
    values = torch.randn(shape)
    wanted = F.linear(values.double(), plain.weight.double(), plain.bias.double() if bias else None)
    assert torch.allclose(PackedLinear(plain)(values).double(), wanted, atol=1e-5)


@pytest.mark.skipif(torch.bfloat16 not in packable(), reason="this processor multiplies no bfloat16")
def test_a_packed_layer_in_bfloat16_answers_as_torch_does() -> None:
    plain, values = layer(dtype=torch.bfloat16), torch.randn(16, 96, dtype=torch.bfloat16)
    assert torch.allclose(PackedLinear(plain)(values), F.linear(values, plain.weight, plain.bias), atol=0.05)


def test_a_layer_in_bfloat16_stays_as_it_is_on_a_processor_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    network = packed(nn.Sequential(layer(dtype=torch.bfloat16), layer()), models.OPTIONS)
    assert [type(each) for each in network] == [SteppedLinear, PackedLinear if packable() else SteppedLinear]
    values = torch.randn(16, 96, dtype=torch.bfloat16)
    assert torch.equal(network[0](values), layer(dtype=torch.bfloat16)(values))


def test_values_that_are_a_view_are_read_as_they_are() -> None:
    plain, values = layer(), torch.randn(4, 10, 3 * 96)
    some = values[:, 1:, 96:192]
    assert torch.allclose(PackedLinear(plain)(some), plain(some), atol=1e-5)


def test_a_packed_layer_saves_the_weights_that_it_was_made_of() -> None:
    plain = layer()
    found = PackedLinear(plain).state_dict()
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in plain.state_dict().items()
    }


@pytest.mark.parametrize("model", ["vit_b16", "dinov2"])
def test_no_linear_layer_of_a_network_on_a_cpu_is_left_unpacked(
    model: str, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(model).network
    assert not [name for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    assert sum(isinstance(each, PackedLinear) for each in network.modules()) >= 48


def test_packing_takes_no_more_memory(vit_b16: ClipModel) -> None:
    plain = models.plain_clip()
    nbytes = sum(each.numel() * each.element_size() for each in plain.parameters())
    assert nbytes <= vit_b16.nbytes <= nbytes + 4 * 77 * 77


@pytest.mark.parametrize("options", [{"device": "cuda:0"}, {"compile": True}])
def test_networks_of_gpus_and_compiled_ones_stay_as_they_are(options: dict[str, object]) -> None:
    network = nn.Sequential(layer())
    assert type(packed(network, replace(models.OPTIONS, **options))[0]) is nn.Linear


def test_where_torch_has_no_such_kernels_weights_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.engines.networks.packed.MACHINES", ("another",))
    assert type(packed(nn.Sequential(layer()), models.OPTIONS)[0]) is SteppedLinear


def test_a_class_of_its_own_stays_as_it_is() -> None:
    class Doubled(nn.Linear):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(values)

    assert type(packed(nn.Sequential(Doubled(4, 4)), models.OPTIONS)[0]) is Doubled


def test_a_packed_network_answers_as_the_library_does(dinov2: DinoModel) -> None:
    plain = models.timm_network("dinov2_vits14")
    tokens = torch.randn(1, 21, 384)
    assert torch.allclose(dinov2.network.blocks[3](tokens), plain.blocks[3](tokens), atol=1e-4)
