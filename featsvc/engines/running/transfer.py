"""Tensors on their way to the device and back, with as few waits as there can be.

On a CPU both are what they were.
"""

from __future__ import annotations

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same on a device, without a wait for what it was given to do before."""
    # CUDA has copied ordinary memory when it returns; other kinds of device do not promise that.
    return tensor.to(device, non_blocking=device.type == "cuda")


def on_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same in the host's memory, after one wait for all.

    Those before the last are small, and either on its device or in the host's memory already.
    """
    *small, last = tensors
    # CUDA copies them in their order, into memory that is pinned, so all are there when the last is.
    coming = (each.to("cpu", non_blocking=each.device.type == "cuda") for each in small)
    return (*coming, last.cpu())
