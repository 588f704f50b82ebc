"""The trials in a very short form: each promise holds, and a broken one is told."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.chaos import attacks
from tests.chaos import connections as module
from tests.chaos.connections import connections
from tests.chaos.crowd import Counts
from tests.chaos.deaths import kills, restarts, stops
from tests.chaos.fuzz import fuzz
from tests.chaos.guided import guided
from tests.chaos.report import Report
from tests.chaos.soak import soak

NEEDS_ATHERIS = pytest.mark.skipif(
    find_spec("atheris") is None, reason="needs atheris, which make test-slow installs where it can be"
)


@pytest.fixture(autouse=True)
def without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is judged after more than is asked here, and so nobody waits until it is at rest."""
    monkeypatch.setattr(attacks, "REST_S", 0.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("trial", "times"),
    [(kills, 3), (stops, 1), (restarts, 1), (fuzz, 1000), pytest.param(guided, 500, marks=NEEDS_ATHERIS)],
)
def test_what_is_promised_holds(trial: Callable[[Path, int], Report], times: int, tmp_path: Path) -> None:
    report = trial(tmp_path, times)
    assert report.is_right, report


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_connections_that_ask_nothing_are_held_and_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALLS", 100)
    report = connections(tmp_path, 300)
    assert not report.faults
    assert "inf" not in report.figures, report  # how long it takes is for a machine that does nothing else


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mixed_work_loses_nothing(tmp_path: Path) -> None:
    report = soak(tmp_path, 20)
    assert "0 lost, 0 wrong" in report.figures, report  # memory is flat only later


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
