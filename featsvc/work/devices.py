"""What devices are called: cpu, mps, cuda:0 as torch counts them, or a GPU or a part of one by its own name."""

from __future__ import annotations

NAMED = ("GPU-", "MIG-")
"""How the names begin that `nvidia-smi -L` shows. A process sees such a device alone, as CUDA_VISIBLE_DEVICES tells."""


def is_named(device: str) -> bool:
    """Whether a device is a GPU, or a part of one, by its name."""
    return device.startswith(NAMED)


def is_gpu(device: str) -> bool:
    """Whether a device is one of CUDA's."""
    return device.startswith("cuda") or is_named(device)


def torch_name(device: str) -> str:
    """What torch calls it in the process that uses it."""
    return "cuda:0" if is_named(device) else device
