"""Every kind of question of every family: the GPU's answers beside the CPU's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from featsvc.engines.registry import Engines
from featsvc.settings.kinds import Precision
from tests.engines import models
from tests.engines.pretended.cases import CASES, Case, asked_in, every_model
from tests.engines.pretended.cases import answers as results
from tests.engines.pretended.numbers import Numbers, bound, difference, numbers
from tests.gpu.conditions import Conditions
from tests.gpu.rows import Row
from tests.gpu.stand import Stand

BOUNDS: Mapping[str, float] = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 1e-2, "bf16": 6e-2}
"""Of what a precision changes, in parts of the largest value or of a mask's pixels."""
SHOWN = 5


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
            # A quality or stability near its threshold may be on the other side of it.
            if precision != "fp32" and case.looks_for_masks:
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
