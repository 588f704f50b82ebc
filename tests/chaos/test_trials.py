"""The trials in a very short form: each promise holds, and a broken one is told."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.chaos.crowd import Counts
from tests.chaos.deaths import kills, restarts, stops
from tests.chaos.fuzz import fuzz
from tests.chaos.guided import guided
from tests.chaos.report import Report

NEEDS_ATHERIS = pytest.mark.skipif(
    find_spec("atheris") is None, reason="needs atheris: make chaos installs it"
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("trial", "times"),
    [(kills, 3), (stops, 1), (restarts, 1), (fuzz, 1000), pytest.param(guided, 500, marks=NEEDS_ATHERIS)],
)
def test_what_is_promised_holds(trial: Callable[[Path, int], Report], times: int, tmp_path: Path) -> None:
    report = trial(tmp_path, times)
    assert report.is_right, report


def test_an_error_in_place_of_an_answer_is_lost_and_other_bytes_are_wrong() -> None:
    array = {"sent": "float32", "dtype": "float32", "shape": [1], "sha256": "a", "sample": [1.0]}
    right = {"name": "x", "code": "OK", "model": "m", "arrays": {"features": array}}
    counts = Counts()
    counts.take(right, right)
    assert counts.is_right
    counts.take({"name": "x", "code": "UNAVAILABLE", "fields": [], "retry_after": True}, right)
    counts.take({**right, "arrays": {"features": {**array, "sha256": "b"}}}, right)
    assert (counts.asked, len(counts.lost), len(counts.wrong)) == (3, 1, 1)
    assert not counts.is_right
