"""The pretended GPU refuses what a GPU refuses, and counts what it waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from threading import Thread

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.tensors import OnDevice

MIB = 1 << 20


@pytest.fixture
def cuda() -> Iterator[PretendCuda]:
    """Two GPUs of 4 MiB, and this thread at work."""
    with PretendCuda(capacity=4 * MIB).installed() as cuda, cuda.at_work(), torch.inference_mode():
        yield cuda


def some(*shape: int, device: str = "cuda:1", dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers on a device."""
    return torch.arange(math.prod(shape)).to(dtype).view(shape).to(device)


def heads(dtype: torch.dtype = torch.float32) -> Tensor:
    """Queries, keys or values of one head."""
    return some(1, 1, 4, 4, dtype=dtype)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda: some(2) + some(2, device="cuda:0"), id="tensors of two GPUs"),
        pytest.param(lambda: some(2) + torch.ones(2), id="a tensor of the CPU"),
        pytest.param(lambda: torch.cat([some(2), torch.ones(2)]), id="one of a list"),
        pytest.param(lambda: torch.ones(2)[some(2, dtype=torch.long)], id="indices of a tensor on the CPU"),
        pytest.param(lambda: some(2).numpy(), id="numpy"),
        pytest.param(lambda: np.asarray(some(2)), id="numpy by itself"),
        pytest.param(lambda: some(2).tolist(), id="a list"),
        pytest.param(lambda: some(2, device="cuda:2"), id="a device that is not there"),
        pytest.param(lambda: torch.empty(2, device="cuda:2"), id="a device that is not there, from nothing"),
        pytest.param(lambda: F.layer_norm(some(2), [2], some(2, dtype=torch.half)), id="a norm of two types"),
        pytest.param(lambda: F.linear(some(1, 2), some(1, 2, dtype=torch.half)), id="a product of two types"),
        pytest.param(
            lambda: F.scaled_dot_product_attention(heads(), heads(), heads(torch.bfloat16)),
            id="attention of two types",
        ),
        pytest.param(lambda: torch.empty(5 * MIB, device="cuda:1"), id="more memory than there is"),
    ],
)
def test_what_a_gpu_refuses_is_refused(act: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        act()


@pytest.mark.usefixtures("cuda")
def test_what_a_gpu_takes_is_taken() -> None:
    values, rows = some(3, 2), torch.tensor([2, 0])
    assert values[rows].cpu().tolist() == [[4, 5], [0, 1]]
    assert (values * torch.tensor(2.0)).cpu().tolist() == [[0, 2], [4, 6], [8, 10]]
    assert torch.tensor([1, 2], device="cuda:1").device == torch.device("cuda:1")
    assert torch.zeros(2, device="cuda").device == torch.device("cuda:0")
    assert isinstance(values.add_(1), OnDevice)
    assert values[1:].sum().item() == 18


def test_another_thread_has_no_business_with_the_device(cuda: PretendCuda) -> None:
    values, errors = some(2), []

    def work() -> None:
        try:
            values.sum()
        except RuntimeError as error:
            errors.append(error)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_memory_is_free_when_the_last_view_has_gone(cuda: PretendCuda) -> None:
    view = torch.empty(3 * MIB // 4, device="cuda:1")[:2]
    assert cuda.live["cuda:1"] == 3 * MIB
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2 * MIB // 4, device="cuda:1")
    del view
    torch.empty(2 * MIB // 4, device="cuda:1")
    assert cuda.live["cuda:1"] == 0
    assert cuda.peak["cuda:1"] == 3 * MIB


def synchronized(values: Tensor) -> Tensor:
    """The same, once it is computed."""
    torch.cuda.synchronize("cuda:1")
    return values


@pytest.mark.parametrize(
    ("act", "waits"),
    [
        (lambda values: values * 2 + values, 0),
        (lambda values: values[1:].view(1, 2).flatten(), 0),
        (lambda values: values.cpu(), 1),
        (lambda values: values.sum().item(), 1),
        (lambda values: float(values[0]), 1),
        (lambda values: values.nonzero(), 1),
        (lambda values: values[values > 1], 1),
        (lambda values: torch.where(values > 1, values, 0), 0),
        (lambda values: (values * 2)[torch.tensor([1, 0])], 1),
        (lambda values: values.masked_fill_(values > 1, 0), 0),
        (lambda values: torch.cuda.synchronize("cuda:1"), 0),
        (lambda values: synchronized(values * 2), 1),
        (lambda values: torch.zeros(3).to(values.device), 0),
        (lambda values: (values * 2, torch.zeros(3).to(values.device)), 1),
        (lambda values: (values * 2, torch.zeros(3).to(values.device, non_blocking=True)), 0),
        (lambda values: (values * 2, torch.zeros(3).copy_(values)), 1),
        (lambda values: (values * 2, values.copy_(torch.zeros(3))), 1),
        (lambda values: values.to("cpu", non_blocking=True), 0),
    ],
)
def test_waits_are_counted(cuda: PretendCuda, act: Callable[[Tensor], object], waits: int) -> None:
    values = some(3)
    cuda.forget()
    act(values)
    assert sum(cuda.waits.values()) == waits


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
@pytest.mark.usefixtures("cuda")
def test_what_comes_without_a_wait_is_there_after_the_next(dtype: torch.dtype) -> None:
    values, last = some(2, dtype=dtype), some(1)
    there = values.to("cpu", non_blocking=True)
    values.zero_()
    assert not torch.equal(there, torch.arange(2).to(dtype))
    last.cpu()
    assert torch.equal(there, torch.arange(2).to(dtype))


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch was built without CUDA's kernels")
def test_an_operator_that_no_gpu_has_is_told(cuda: PretendCuda) -> None:
    some(2).sum()
    assert not cuda.without_kernel()
    torch.histogram(some(2), 2)
    assert cuda.without_kernel() == ["aten.histogram.bin_ct"]


def test_afterwards_torch_is_as_it_was() -> None:
    before = torch.cuda.is_available, torch.cuda.synchronize
    with PretendCuda().installed(), PretendCuda().at_work():
        assert torch.cuda.device_count() == 2
    assert (torch.cuda.is_available, torch.cuda.synchronize) == before
