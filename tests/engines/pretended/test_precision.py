"""What a worker computes in, by its device and `--precision`."""

from __future__ import annotations

import logging

import pytest
import torch

from featsvc.engines import registry
from featsvc.engines.running.family import Model
from featsvc.settings.kinds import AnyPrecision, Precision
from tests.engines import models
from tests.engines.pretended.cases import FAMILIES
from tests.engines.pretended.cuda import PretendCuda
from tests.engines.pretended.worker import DEVICE, PretendedWorker

TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)


@pytest.mark.parametrize(
    ("wanted", "capability", "precision"),
    [
        ("auto", TURING, "fp32"),
        ("auto", AMPERE, "bf16"),
        ("auto", HOPPER, "bf16"),
        ("tf32", TURING, "fp32"),
        ("tf32", AMPERE, "tf32"),
        ("fp32", HOPPER, "fp32"),
        ("fp16", TURING, "fp16"),
        ("bf16", TURING, "bf16"),
    ],
)
def test_a_gpu_computes_in_what_it_has_and_float32_is_never_rounded_unasked(
    wanted: AnyPrecision, capability: tuple[int, int], precision: Precision
) -> None:
    cuda = PretendCuda(capability=capability)
    with cuda.installed(), cuda.at_work():
        assert models.engines(device=DEVICE, precision=wanted).precision == precision
        rounds = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    assert rounds == (precision == "tf32",) * 2


@pytest.mark.parametrize("wanted", ["auto", "tf32"])
def test_a_cpu_computes_in_float32_unless_it_is_told_otherwise(wanted: AnyPrecision) -> None:
    assert models.engines(precision=wanted).precision == "fp32"


@pytest.mark.parametrize(("wanted", "is_small"), [("auto", True), ("tf32", False)])
def test_networks_have_the_type_that_their_worker_tells(wanted: AnyPrecision, is_small: bool) -> None:
    worker = PretendedWorker(precision=wanted)
    for loaded in (worker.loaded[each] for each in FAMILIES):
        assert isinstance(loaded, Model)
        types = {each.dtype for each in loaded.network.parameters()}
        assert (torch.bfloat16 in types) == is_small


@pytest.mark.parametrize(
    ("wanted", "capability", "told"),
    [
        ("bf16", TURING, True),
        ("bf16", AMPERE, False),
        ("auto", TURING, False),
        ("fp16", TURING, False),
    ],
)
def test_a_gpu_without_bfloat16_is_told_what_is_faster(
    wanted: AnyPrecision,
    capability: tuple[int, int],
    told: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cuda = PretendCuda(capability=capability)
    with cuda.installed(), cuda.at_work(), caplog.at_level(logging.WARNING, "featsvc.engines.registry"):
        models.engines(device=DEVICE, precision=wanted)
    words = f"{DEVICE} has no units for bfloat16, in which it may be slower than in float32: --precision fp16"
    assert (words in caplog.text) == told


@pytest.mark.parametrize(("has_products", "told"), [(False, True), (True, False)])
def test_a_processor_without_bfloat16_is_told_what_is_faster(
    has_products: bool, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "multiplies_bfloat16", lambda: has_products)
    with caplog.at_level(logging.WARNING, "featsvc.engines.registry"):
        assert models.engines(precision="bf16").precision == "bf16"
    assert ("--precision fp32 is faster here" in caplog.text) == told
