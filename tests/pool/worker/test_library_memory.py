"""What libraries keep in a worker: of kernels few, of buffers none."""

from __future__ import annotations

import pytest
import torch

from featsvc.engines.networks.packed import packable
from tests.pool.worker.test_freed_memory import ran

ASKS_600_SIZES = """
import torch
from torch import nn

from featsvc.engines.networks.packed import PackedLinear
from featsvc.memory import allocated_bytes
from tests.pool.worker.test_freed_memory import MIB

torch.set_num_threads(1)
convolution, linear = nn.Conv2d(3, 8, 3), PackedLinear(nn.Linear(8, 64))
seen = []
with torch.inference_mode():
    for size in range(16, 616):
        convolution(torch.zeros(2, 3, 16, size))
        linear(torch.zeros(1, size, 8))
        seen.append(allocated_bytes())
    assert seen[300] > seen[0] + 20 * MIB, "oneDNN keeps nothing: then this test shows nothing"
    assert seen[-1] < seen[300] + 4 * MIB, seen
    convolution(torch.zeros(2, 3, 16, 400))
"""


@pytest.mark.skipif(not packable(), reason="oneDNN has no layers of ours on this processor")
def test_kernels_of_ever_new_sizes_are_not_all_kept() -> None:
    told = ran(ASKS_600_SIZES, ONEDNN_VERBOSE="2").splitlines()
    made = [line for line in told if "cpu,convolution," in line and "iw400" in line and "create:" in line]
    assert made, "oneDNN tells of no kernel: then this test shows nothing"
    assert all("create:cache_miss" in line for line in made)


MULTIPLIES_IN_FOUR_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from featsvc.memory import allocated_bytes
from tests.pool.worker.test_freed_memory import MIB

torch.set_num_threads(1)
values = torch.ones(1000, 1000)
together = Barrier(4)


def multiply():
    values @ values
    together.wait(30)


values @ values
before = allocated_bytes()
with ThreadPoolExecutor(4) as threads:
    for each in [threads.submit(multiply) for _ in range(4)]:
        each.result()
    assert allocated_bytes() - before < 4 * MIB
"""


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch multiplies by another library here")
def test_threads_that_have_multiplied_keep_nothing() -> None:
    ran(MULTIPLIES_IN_FOUR_THREADS)
