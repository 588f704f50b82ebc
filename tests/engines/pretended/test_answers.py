"""Engines on a GPU that is not there: right devices and types, and the CPU's answers.

On a GPU layers are not packed and pictures share passes, so not even a pretended one has the CPU's last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from featsvc.work.operations import OPERATIONS
from featsvc.work.results import EmbeddedImage, ObjectMatches, ObjectsFound, Result
from tests.engines import models
from tests.engines.pretended.cases import CASES, answers, asked_in, every_model
from tests.engines.pretended.conftest import Workers
from tests.engines.pretended.numbers import BOUNDS, Numbers, bound, difference, numbers
from tests.engines.pretended.worker import DEVICE, PretendedWorker

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


ASKED = [(name, each) for name in CASES for each in BOUNDS if name in asked_in(each)]


@pytest.mark.parametrize(("name", "precision"), ASKED)
def test_a_gpu_answers_as_the_cpu_and_uses_no_other_device(
    workers: Workers, expected: Expected, name: str, precision: Precision
) -> None:
    worker, case = workers(precision), CASES[name]
    there = [numbers(each) for each in worker.answers(case)]
    for ours, theirs in zip(there, expected(name), strict=True):
        assert difference(ours, theirs) <= bound(case, BOUNDS[precision])
    # Nothing at all is touched by texts that are kept.
    assert set(worker.cuda.touched) <= {DEVICE}, worker.cuda.touched
    if torch.version.cuda:
        assert not worker.cuda.without_kernel()


def _without_fine(result: Result) -> Result:
    assert isinstance(result, EmbeddedImage)
    assert result.high_res_feats_1 is not None
    return replace(result, high_res_feats_1=np.zeros_like(result.high_res_feats_1))


def _of_other_texts(result: Result) -> Result:
    assert isinstance(result, ObjectsFound)
    assert result.text_map is not None
    return replace(result, text_map=np.where(result.text_map > 0, 3 - result.text_map, 0).astype(np.uint16))


def _of_other_object(result: Result) -> Result:
    assert isinstance(result, ObjectsFound)
    others = tuple(replace(each, object=each.object + 1) for each in result.found[0].matches)
    return replace(result, found=(ObjectMatches(others), *result.found[1:]))


@pytest.mark.parametrize(
    ("name", "otherwise"),
    [
        ("sam2 embedding itself", _without_fine),
        ("object found among prompts", _of_other_texts),
        ("object found among prompts", _of_other_object),
    ],
)
def test_an_answer_that_says_something_else_is_told(
    worker: PretendedWorker, name: str, otherwise: Callable[[Result], Result]
) -> None:
    (result,) = worker.answers(CASES[name])
    assert difference(numbers(otherwise(result)), numbers(result)) > max(BOUNDS.values())


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ["clip picture", "clip texts"])
def test_embeddings_are_of_length_1_in_every_precision(
    workers: Workers, name: str, precision: Precision
) -> None:
    (result,) = workers(precision).answers(CASES[name])
    np.testing.assert_allclose(np.linalg.norm(models.vectors(result), axis=-1), 1, atol=1e-5)
