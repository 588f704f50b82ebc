"""Tensors on their way to the device and back, with as few waits as there can be.

On a CPU both are what they were.
"""

from __future__ import annotations

import torch
from torch import Tensor

STAGED_BYTES = 1 << 16
"""What CUDA takes from ordinary memory at once. Before it takes more, it does all that it was given to do."""
MOST_PINNED_BYTES = 1 << 28
"""Largest tensor that comes home by way of pinned memory, of which torch keeps what it once took."""

COPIES_PRIORITY = -1
"""Of streams beside the one that computes. torch has a pool of 32 streams for each priority and gives them again and
again: in that of 0 is the one by which graphs are captured, which nobody else may use meanwhile."""


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The same in memory that a GPU copies from while both it and the CPU do other things."""
    if device.type != "cuda" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same on a device, without a wait for what it was given to do before."""
    if tensor.device.type == "cpu" and tensor.nbytes > STAGED_BYTES:
        tensor = pinned(tensor, device)
    # CUDA has copied ordinary memory when it returns; other kinds of device do not promise that.
    return tensor.to(device, non_blocking=device.type == "cuda")


def homebound(tensor: Tensor) -> Tensor:
    """The same in the host's memory, once its device's current stream has come to this copy."""
    # CUDA brings it into pinned memory, which takes a fraction of the time.
    is_pinned = tensor.device.type == "cuda" and tensor.nbytes <= MOST_PINNED_BYTES
    return tensor.to("cpu", non_blocking=is_pinned)


def on_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same in the host's memory, after one wait for all of one device."""
    coming = tuple(map(homebound, tensors))
    device = next((each.device for each in tensors if each.device.type == "cuda"), None)
    if device is not None:
        torch.cuda.current_stream(device).synchronize()
    return coming
