"""The simulation of many workers says what it is given."""

from __future__ import annotations

import pytest

from tests.bench.simulation import KINDS, main, measured

TEXTS = KINDS["one caller"]


def test_workers_that_are_all_busy_answer_as_many_as_they_can() -> None:
    got = measured(TEXTS, workers=4, waiting=200, requests=2000)
    assert got.fill == pytest.approx(1, abs=0.02)
    # A batch of 16 takes a pass and 16 items of a worker.
    assert got.per_s == pytest.approx(4 * 16 / (TEXTS.pass_s + 16 * TEXTS.item_s), rel=0.02)
    assert got.p99_s > 200 / got.per_s / 2
    assert got.cost_us > 0


def test_it_prints_a_line_for_each_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "clicks", "--workers", "1", "2", "--waiting", "20", "--requests", "100"])
    *_, one, two = capsys.readouterr().out.splitlines()
    assert one.startswith(f"| {KINDS['clicks'].what} | 1 |")
    assert two.startswith(f"| {KINDS['clicks'].what} | 2 |")
