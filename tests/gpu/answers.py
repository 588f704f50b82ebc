"""Every kind of question of every family: the GPU's answers beside the CPU's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

import numpy as np
from pycocotools import mask as coco

from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from tests.engines import models
from tests.engines.pretended.cases import CASES, Case, asked_in, every_model
from tests.engines.pretended.cases import answers as results
from tests.engines.pretended.numbers import Array, Numbers, bound, difference, numbers
from tests.gpu.conditions import Conditions
from tests.gpu.rows import Row
from tests.gpu.stand import Stand

BOUNDS: Mapping[str, float] = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 1e-2, "bf16": 6e-2}
"""Of what a precision changes, in parts of the largest value or of a mask's pixels."""
SHOWN = 5
ROUNDED = ("fp16", "bf16")
"""In these a quality or stability near its threshold may be on the other side of it, and so a mask be there or not."""
FEW = 0.2
"""Masks of an answer that may be so, and one in any case."""
LEAST_IOU = 0.9
"""Of the others with the masks of the other answer that are nearest to them."""


def answers(conditions: Conditions) -> Iterator[Row]:
    """A row for each precision."""
    stand = Stand.of(conditions)
    cases = one_of_each() if stand.dry else CASES
    here = answered(models.engines(), cases)
    for precision in get_args(Precision):
        asked = asked_in(precision, cases)
        with stand.at_work():
            there = answered(stand.engines(precision=precision), asked)
        yield compared(precision, asked, here, there)


def one_of_each() -> Mapping[str, Case]:
    """A case of each operation, the first there is."""
    return {f"{case.family} {case.operation.name}": case for case in reversed(CASES.values())}


def answered(engines: Engines, cases: Mapping[str, Case]) -> dict[str, list[Numbers] | Exception]:
    """Answers to cases, and what was raised instead."""
    loaded = every_model(engines)
    found: dict[str, list[Numbers] | Exception] = {}
    for name, case in cases.items():
        try:
            found[name] = [numbers(each) for each in results(engines, case, loaded[case.models])]
        except Exception as error:  # whatever a GPU may raise: the other cases are asked all the same
            found[name] = error
    return found


def differ_in_few(ours: Numbers, theirs: Numbers) -> bool:
    """Whether all but a few masks of each answer are among those of the other."""
    one, other = ([*map(_coco, _masks(each))] for each in (ours, theirs))
    if not one or not other or abs(len(one) - len(other)) > max(1, FEW * max(len(one), len(other))):
        return False
    ious = np.asarray(coco.iou(one, other, [0] * len(other)))
    return all(_least_of_most(ious.max(axis=axis)) >= LEAST_IOU for axis in (0, 1))


def _masks(answer: Numbers) -> list[Array]:
    return [pixels for name, pixels in answer.items() if name.startswith("mask ")]


def _coco(pixels: Array) -> object:
    return coco.encode(np.asfortranarray(pixels, np.uint8))


def _least_of_most(ious: Array) -> float:
    """The least but for few."""
    few = min(max(1, int(FEW * len(ious))), len(ious) - 1)
    return float(np.sort(ious)[few])


def compared(
    precision: Precision,
    cases: Mapping[str, Case],
    here: Mapping[str, list[Numbers] | Exception],
    there: Mapping[str, list[Numbers] | Exception],
) -> Row:
    """How far the answers of two devices are apart."""
    worst: dict[str, float] = {}
    wrong: list[str] = []
    for name, case in cases.items():
        ours, theirs = there[name], here[name]
        if isinstance(ours, Exception) or isinstance(theirs, Exception):
            wrong.append(f"{name}: {ours if isinstance(ours, Exception) else theirs!r}")
            continue
        try:
            worst[name] = max(map(difference, ours, theirs))
        except AssertionError:  # other shapes, or names
            worst[name] = float("inf")
            if precision in ROUNDED and case.looks_for_masks and all(map(differ_in_few, ours, theirs)):
                continue
        # Written so that NaN counts as wrong.
        if not worst[name] <= bound(case, BOUNDS[precision]):
            wrong.append(f"{name}: {worst[name]:.2g}")
    farthest = sorted(worst, key=lambda name: worst[name], reverse=True)[:SHOWN]
    figures = {
        "cases": len(cases),
        "wrong": wrong,
        "farthest": {name: float(f"{worst[name]:.2g}") for name in farthest},
    }
    return Row(precision, not wrong, figures)
