"""Engines on a GPU that is not there: right devices and types, and the CPU's answers.

On a GPU layers are not packed and pictures share passes, so not even a pretended one has the CPU's last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from featsvc.v1.schema import FeatureDType
from featsvc.work.operations import OPERATIONS
from tests.engines import models
from tests.engines.pretended.cases import CASES, answers, every_model
from tests.engines.pretended.conftest import Workers
from tests.engines.pretended.numbers import Numbers, difference, numbers
from tests.engines.pretended.worker import DEVICE

BOUNDS: Mapping[Precision, float] = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 6e-2}
"""Differences that a network's precision makes, in parts of the largest value, or of a mask's pixels."""
STEPS: Mapping[FeatureDType, float] = {
    FeatureDType.INT8: 1 / 127,
    FeatureDType.BFLOAT16: 2**-8,
    FeatureDType.FLOAT16: 2**-11,
}
"""One more or less in the last place of what features are rounded to."""

Expected = Callable[[str], list[Numbers]]


@pytest.fixture(scope="module")
def expected(engines: Engines) -> Expected:
    """Answers of the CPU."""
    loaded = every_model(engines)

    @cache
    def made(name: str) -> list[Numbers]:
        case = CASES[name]
        return [numbers(each) for each in answers(engines, case, loaded[case.models])]

    return made


def test_every_operation_is_asked() -> None:
    assert {case.operation for case in CASES.values()} == set(OPERATIONS)


ASKED = [
    (name, each) for name, case in CASES.items() for each in BOUNDS if each == "fp32" or not case.is_around
]


@pytest.mark.parametrize(("name", "precision"), ASKED)
def test_a_gpu_answers_as_the_cpu_and_uses_no_other_device(
    workers: Workers, expected: Expected, name: str, precision: Precision
) -> None:
    worker, case = workers(precision), CASES[name]
    there = [numbers(each) for each in worker.answers(case)]
    dtypes = (getattr(case.params, each, FeatureDType.FLOAT32) for each in ("dtype", "pyramid_dtype"))
    bound = BOUNDS[precision] + sum(STEPS.get(each, 0) for each in dtypes)
    for ours, theirs in zip(there, expected(name), strict=True):
        assert difference(ours, theirs) <= bound
    # Nothing at all is touched by texts that are kept.
    assert set(worker.cuda.touched) <= {DEVICE}, worker.cuda.touched
    if torch.version.cuda:
        assert not worker.cuda.without_kernel()


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ["clip picture", "clip texts"])
def test_embeddings_are_of_length_1_in_every_precision(
    workers: Workers, name: str, precision: Precision
) -> None:
    (result,) = workers(precision).answers(CASES[name])
    np.testing.assert_allclose(np.linalg.norm(models.vectors(result), axis=-1), 1, atol=1e-5)
