"""A worker whose GPU cannot be used says why when it starts, and not with every request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from featsvc.errors import NoDevice
from tests.engines import models
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: …"
)


@pytest.fixture
def cuda() -> Iterator[PretendCuda]:
    """Two GPUs, and this thread at work."""
    with PretendCuda().installed() as cuda, cuda.at_work():
        yield cuda


def test_a_gpu_that_torch_has_no_code_for_is_no_device(cuda: PretendCuda) -> None:
    cuda.capability = (7, 0)
    with pytest.raises(NoDevice, match=f"torch .* has no code for {DEVICE}, which is too old or too new"):
        models.engines(device=DEVICE)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("counted", [0, 2])
def test_a_driver_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch, counted: int) -> None:
    """Some of torch's ways to count GPUs ask the driver alone, and find some."""

    def refuse() -> None:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counted)
    with pytest.raises(
        NoDevice, match=r"cannot use it \(The NVIDIA driver on your system is too old .*11040\)\)"
    ):
        models.engines(device=DEVICE)


@pytest.mark.usefixtures("cuda")
def test_a_driver_that_may_work_again_is_no_reason_to_give_a_device_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise RuntimeError("CUDA unknown error")

    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)
    with pytest.raises(RuntimeError, match="unknown error"):
        models.engines(device=DEVICE)


@pytest.mark.usefixtures("cuda")
def test_a_gpu_beyond_the_last_is_told_with_their_number() -> None:
    with pytest.raises(NoDevice, match=r"cuda:2 is not on this machine.*\(2 of its kind are there\)"):
        models.engines(device="cuda:2")
