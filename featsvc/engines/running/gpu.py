"""What a worker's GPU is, and how its memory stands. Of other devices nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featsvc.work.devices import is_gpu

try:
    import pynvml
except ModuleNotFoundError:  # only servers with GPUs gain by it
    pynvml = None


@dataclass(frozen=True)
class Gpu:
    """A GPU at one moment."""

    name: str
    uuid: str
    """As `nvidia-smi -L` has it, without its prefix."""
    total_bytes: int
    free_bytes: int
    """What no process holds, as the driver says: torch keeps memory that it does not use at the moment."""
    utilization_percent: int | None
    """Of the last second or less, the part in which it computed, for whomever; None where its driver does not tell."""


def gpu(device: str) -> Gpu | None:
    """The GPU of this name, or None for another device."""
    if not is_gpu(device):
        return None
    known = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return Gpu(known.name, str(known.uuid), total, free, _utilization_percent(str(known.uuid)))


def make_current(device: str) -> None:
    """Has this thread's libraries take a GPU where they name none: of several that it sees they take the first."""
    if is_gpu(device):
        torch.cuda.set_device(device)


def _utilization_percent(uuid: str) -> int | None:
    """As `nvidia-smi` has it. torch's own count of GPUs need not be that of the driver, but a UUID is the same."""
    if pynvml is None:
        return None
    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return int(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
    except pynvml.NVMLError:  # no library of the driver, or a part of a GPU
        return None


def usable_bytes(device: torch.device) -> int | None:
    """Memory of a GPU that this process could still take; None for another device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def trim(device: str) -> None:
    """Hands pinned memory of the host that torch keeps and does not use back to the system."""
    empty = getattr(torch._C, "_host_emptyCache", None)  # not every torch that is supported has it
    if is_gpu(device) and empty is not None:
        empty()


def give_back(device: str) -> int:
    """Hands memory that torch keeps and does not use back to the GPU; returns its bytes.

    Other processes want it, and cuBLAS and cuDNN, which allocate beside torch.
    """
    if not is_gpu(device):
        return 0
    before = torch.cuda.memory_reserved(device)
    torch.cuda.empty_cache()
    return before - torch.cuda.memory_reserved(device)
