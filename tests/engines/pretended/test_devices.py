"""A worker touches no device but its own, whichever torch takes for the current one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from torch import nn

from featsvc.catalog import catalog
from featsvc.catalog.entry import Sam2Entry
from featsvc.engines.running.family import Model
from featsvc.engines.sam2 import model as sam2_model
from tests.engines import models
from tests.engines.pretended.cases import CASES, FAMILIES, answers
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE

T = TypeVar("T")
SOME = {"clip": "clip grid", "dino": "dino grid", "sam2": "sam2 click"}


@pytest.mark.parametrize(("device", "own"), [(DEVICE, {DEVICE}), ("cpu", set())])
@pytest.mark.parametrize("family", FAMILIES)
def test_loading_a_model_and_asking_it_touches_no_other_device(
    device: str, own: set[str], family: str
) -> None:
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():
        engines = models.engines(device=device)
        answers(engines, CASES[SOME[family]], engines.load(f"demo-{family}"))
    assert set(cuda.touched) == own, cuda.touched


@pytest.mark.parametrize("device", [DEVICE, "cpu"])
def test_each_thread_of_a_worker_makes_its_device_the_current_one_before_it_uses_any(device: str) -> None:
    cuda, case = PretendCuda(), CASES["dino grid"]
    with cuda.installed(), cuda.at_work():
        engines = models.engines(device=device)
    chosen = cuda.streams.chosen
    assert chosen == ({} if device == "cpu" else {threading.get_ident(): (DEVICE, False)})

    def current_after(act: Callable[[], T]) -> T:
        chosen.clear()
        with cuda.installed(), ThreadPoolExecutor(1) as other:
            made = other.submit(within, act).result()
        assert [name for name, _ in chosen.values()] == ([] if device == "cpu" else [DEVICE])
        return made

    def within(act: Callable[[], T]) -> T:
        with cuda.at_work():
            return act()

    loaded = current_after(lambda: engines.load("demo-dino"))
    current_after(lambda: engines.prepare(case.operation.rpc, case.items[0], case.params, loaded))
    current_after(engines.trim)


@pytest.mark.parametrize(("device", "last"), [(DEVICE, True), ("cpu", False)])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_on_a_gpu_convolutions_have_their_channels_last(device: str, last: bool, family: str) -> None:
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():
        loaded = models.engines(device=device).load(f"demo-{family}")
        assert isinstance(loaded, Model)
        layers = [
            each for each in loaded.network.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)
        ]
        weights = [
            each.weight for each in layers if each.weight.shape[1] > 1 and each.weight[0, 0].numel() > 1
        ]
        assert weights
        for each in weights:
            assert each.is_contiguous(memory_format=torch.channels_last) == last


def test_sam2_with_its_memory_of_videos_is_built_without_a_device() -> None:
    entry = catalog()["sam2.1_hiera_tiny"]
    assert isinstance(entry, Sam2Entry)
    cuda = PretendCuda()
    with cuda.installed(), cuda.at_work():
        sam2_model.built(entry)
    assert not cuda.touched
