"""Networks in bfloat16 or float16: weights in that type, norms and answers in float32."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from featsvc.settings.kinds import Precision
from featsvc.work.options import EngineOptions

DTYPES: Mapping[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)

Network = TypeVar("Network", bound=nn.Module)


class Float32Norm(nn.Module):
    """A norm with weights in float32 that computes in float32 and answers in the type it is asked in."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, values: Tensor) -> Tensor:
        """The norm of values of any floating type."""
        # The CPU's kernel takes such values beside float32 weights and computes in float32: no copies needed.
        # CUDA's wants all of one type.
        mixed = values.device.type == "cpu" and isinstance(self.norm, nn.LayerNorm)
        answer: Tensor = self.norm(values if mixed else values.float())
        return answer.to(values.dtype)


def placed(network: Network, options: EngineOptions) -> Network:
    """The network ready to answer: weights in the options' precision, on their device, never trained."""
    # Before it moves, so that the device never holds it in float32.
    ready = lowered(network.eval().requires_grad_(False), DTYPES[options.precision])
    return ready.to(options.device)


def lowered(network: Network, dtype: torch.dtype, norms: tuple[type[nn.Module], ...] = ()) -> Network:
    """The network itself, its weights and buffers in `dtype` and its norms in float32 between them.

    `norms` are further classes that count as norms, for libraries that write their own. A network may be a part
    of another one: the rest keeps its type. On a CPU `torch.autocast` was slower than float32: it copies around bmm.
    """
    if dtype is torch.float32:
        return network
    every = (*NORMS, *norms)
    for parent in list(network.modules()):
        if isinstance(parent, (*every, Float32Norm)):
            continue
        for name, child in parent.named_children():
            if isinstance(child, every):
                setattr(parent, name, Float32Norm(child))
        for tensor in chain(parent.parameters(recurse=False), parent.buffers(recurse=False)):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    return network


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type in which a network takes its pictures: that of its weights outside norms."""
    return next(
        weight.dtype
        for module in network.modules()
        if not isinstance(module, NORMS)
        for weight in module.parameters(recurse=False)
        if weight.is_floating_point()
    )
