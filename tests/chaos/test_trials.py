"""The trials in a very short form: each promise holds, and a broken one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.crowd import Counts
from tests.chaos.deaths import kills, restarts, stops
from tests.chaos.fuzz import fuzz


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_with_workers_that_are_killed(tmp_path: Path) -> None:
    report = kills(tmp_path, 3)
    assert report.is_right, report


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_with_workers_that_hang(tmp_path: Path) -> None:
    report = stops(tmp_path, 1)
    assert report.is_right, report


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_with_the_gateway(tmp_path: Path) -> None:
    report = restarts(tmp_path, 1)
    assert report.is_right, report


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nearly_right_inputs_meet_no_defect(tmp_path: Path) -> None:
    report = fuzz(tmp_path, 1000)
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
