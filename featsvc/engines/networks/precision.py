"""Networks in bfloat16 or float16: weights in that type, norms and answers in float32."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from featsvc.settings.kinds import AnyPrecision, Precision
from featsvc.work.devices import is_gpu
from featsvc.work.options import EngineOptions

DTYPES: Mapping[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

AMPERE = (8, 0)
"""The compute capability from which on GPUs multiply bfloat16 and TF32."""

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


def precision_on(device: str, wanted: AnyPrecision) -> Precision:
    """What a device computes in where `wanted` is set: auto is decided, and TF32 is float32 where there is none."""
    if wanted != "auto" and wanted != "tf32":
        return wanted
    if not is_gpu(device) or not is_ampere(device):
        return "fp32"
    return "bf16" if wanted == "auto" else wanted


def is_ampere(device: str) -> bool:
    """Whether a GPU is of that generation or a later one."""
    return torch.cuda.get_device_capability(device) >= AMPERE


def dtype_for(options: EngineOptions) -> torch.dtype:
    """The type of a network's weights."""
    return DTYPES[precision_on(options.device, options.precision)]


def placed(network: Network, options: EngineOptions) -> Network:
    """The network ready to answer: weights in the options' precision, on their device, never trained."""
    # Before it moves, so that the device never holds it in float32.
    return moved(
        lowered(network.eval().requires_grad_(False), dtype_for(options), device=options.device), options
    )


def moved(network: Network, options: EngineOptions) -> Network:
    """The network itself on its device; on a GPU with the weights of convolutions as its tensor cores read them.

    What comes into SAM2's convolutions has its channels last already, and torch would lay their weights out like that
    at each call; what goes out of them, and out of a ViT's, is read as tokens, whose channels are last too.
    """
    if is_gpu(options.device):
        there: Network = network.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return there
    return network.to(options.device)


def lowered(
    network: Network, dtype: torch.dtype, norms: tuple[type[nn.Module], ...] = (), device: str = "cpu"
) -> Network:
    """The network itself, its weights and buffers in `dtype` and its norms in float32 between them.

    `norms` are further classes that count as norms, for libraries that write their own. A network may be a part
    of another one: the rest keeps its type. On a CPU `torch.autocast` was slower than float32: it copies around bmm.
    For CUDA the weights of an nn.LayerNorm are in `dtype` too: its kernel takes one type, sums in float32 all the same,
    and the copies around it would be a quarter of what a pass launches.
    """
    if dtype is torch.float32:
        return network
    in_one_type = nn.LayerNorm if is_gpu(device) else None
    every = tuple(each for each in (*NORMS, *norms) if each is not in_one_type)
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
