"""Whether a device can be used at all, asked once when a worker starts: one that cannot would fail every request."""

from __future__ import annotations

import torch

from featsvc.engines.running.gpu import make_current
from featsvc.errors import NoDevice
from featsvc.work.devices import is_gpu

NO_CODE = "no kernel image is available"
NO_DRIVER = (
    "driver on your system is too old",
    "Found no NVIDIA driver",
    "No CUDA GPUs are available",
    "not compiled with CUDA",
)
"""How torch begins where another start will not help; it goes on with what else to install."""


def check_device(device: str) -> None:
    """Raises NoDevice with the reason where another start will not find the device, or no code for it, either.

    A product and a convolution load what every model needs, too. The device is this thread's current one from now on.
    """
    _check_is_there(device)
    make_current(device)
    try:
        square = torch.ones(1, 1, 8, 8, device=device)
        torch.conv2d(square @ square, square[..., :3, :3])
        if is_gpu(device):
            torch.cuda.synchronize(device)
    except RuntimeError as error:
        if NO_CODE not in str(error):
            raise
        raise NoDevice(
            f"devices: torch {torch.__version__} has no code for {device}, which is too old or too new for it: "
            "leave it out, or install a torch for it"
        ) from error


def _check_is_there(device: str) -> None:
    kind, _, index = device.partition(":")
    there, reason = 1, ""
    if kind == "cuda":
        there, reason = torch.cuda.device_count(), _driver_problem()
    elif kind == "mps":
        there = int(torch.backends.mps.is_available())
    if reason or int(index or 0) >= there:
        raise NoDevice(
            f"devices: {device} is not on this machine, or torch cannot use it "
            f"({reason or f'{there} of its kind are there'}): --devices cpu works everywhere"
        )


def _driver_problem() -> str:
    """What torch says of a driver that it cannot use; empty where it can, or where another start may."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch is typed in part
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA fails an assertion
        if any(words in str(error) for words in NO_DRIVER):
            return str(error).partition(". ")[0]
        raise
    return ""
