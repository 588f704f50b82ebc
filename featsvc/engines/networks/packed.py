"""Linear layers of a network on a CPU: in steps, their weights laid out once as oneDNN's kernels read them."""

from __future__ import annotations

import platform
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featsvc.engines.running.interrupt import by_rows
from featsvc.work.options import EngineOptions

LINEAR = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear)
MACHINES = ("x86_64", "AMD64")

Network = TypeVar("Network", bound=nn.Module)


class SteppedLinear(nn.Module):
    """Takes the place of an nn.Linear, with the same weights, and multiplies in steps where that takes long."""

    weight: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", self._laid_out(linear.weight.detach()))
        self.bias = linear.bias

    def forward(self, values: Tensor) -> Tensor:
        """Values ... x in to ... x out."""
        return by_rows(self._product, values, 2 * self.in_features * self.out_features)

    def _laid_out(self, weight: Tensor) -> Tensor:
        return weight

    def _product(self, values: Tensor) -> Tensor:
        return F.linear(values, self.weight, self.bias)


class PackedLinear(SteppedLinear):
    """The same, and gives up the weight of the nn.Linear.

    torch multiplies float32 by MKL, which on AMD's processors leaves AVX-512 unused: 8.6 against 3.6 ms for 197 rows of
    768 to 3072. In bfloat16, where torch asks oneDNN itself, it lays the weight out again at each call. These are the
    operators by which torch.compile replaces linear layers on a CPU.
    """

    def _laid_out(self, weight: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        return packed

    def _product(self, values: Tensor) -> Tensor:
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")
        return answer

    # The name is torch's, and so is the freedom of its dict.
    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """As the layer that it stands for."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.weight.to_dense()


def packed(network: Network, options: EngineOptions) -> Network:
    """The network itself with every linear layer packed, where that can be done; never to be trained or moved again.

    Compiled code would not see through it, so it is one or the other.
    """
    if options.device != "cpu" or options.compile:
        return network
    able = packable()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # Not those of a class of their own, whose forward may do more.
            if isinstance(child, nn.Linear) and type(child) in LINEAR:
                known = child.weight.dtype in able
                setattr(parent, name, PackedLinear(child) if known else SteppedLinear(child))
    return network


def packable() -> tuple[torch.dtype, ...]:
    """The element types whose layers this processor can have packed."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if not (known and torch.backends.mkldnn.is_available() and platform.machine() in MACHINES):
        return ()
    return (torch.float32, torch.bfloat16) if multiplies_bfloat16() else (torch.float32,)


def multiplies_bfloat16() -> bool:
    """Whether this processor has products of bfloat16.

    Those without AVX-512 have no instructions for it: oneDNN refuses to lay layers out for them, and a batched product
    takes twelve times as long as in float32.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
