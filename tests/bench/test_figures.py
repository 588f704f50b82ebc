"""The arithmetic of the table, its file and its picture."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.bench import chart, one_call, report
from tests.bench.figures import Claim, Row, Side
from tests.servers import ROOT

FAST, SLOW = Side.of("fast", [10.0, 12.0, 11.0]), Side.of("slow", [4.0, 5.0, 6.0])
CLAIM = Claim("a_row", "this beside that", 2.0)


def test_the_spread_of_few_values_is_their_extremes_and_of_many_their_quartiles() -> None:
    assert (FAST.median, FAST.low, FAST.high) == (11, 10, 12)
    many = Side.of("many", [float(value) for value in range(1, 102)])
    assert (many.median, many.low, many.high, many.samples) == (51, 26, 76, 101)


def test_a_ratio_is_turned_so_that_higher_is_better() -> None:
    assert CLAIM.rates(FAST, SLOW).ratio == pytest.approx(11 / 5)
    assert CLAIM.times(SLOW, FAST, "ms").ratio == pytest.approx(11 / 5)
    assert CLAIM.rates(FAST, SLOW).reached
    assert not CLAIM.rates(SLOW, FAST).reached


def test_a_figure_within_its_limit_reaches_one() -> None:
    at, over = (Claim("latency", "added", 3.0).limit(Side.of("added", [ms]), "ms") for ms in (3.0, 4.0))
    assert (at.ratio, at.reached) == (1, True)
    assert (over.ratio, over.reached) == (0.75, False)


def test_what_cannot_be_measured_is_shown_and_never_counts_as_reached() -> None:
    row = Claim("later", "something", 0.0).missing("the server has no --flag")
    assert not row.reached
    assert "not available yet: the server has no --flag" in report.table([row])


def test_the_results_file_names_ratio_and_target_and_reads_back(tmp_path: Path) -> None:
    rows = [CLAIM.rates(FAST, SLOW, "a note"), CLAIM.missing("a reason")]
    report.write(rows, tmp_path / "bench" / "results.json")
    first, second = json.loads((tmp_path / "bench" / "results.json").read_text())
    assert (first["name"], first["ratio"], first["target"], first["reached"]) == ("a_row", 2.2, 2.0, True)
    assert [side["median"] for side in first["sides"]] == [11, 5]
    assert second["available"] is False
    assert report.read(tmp_path / "bench" / "results.json") == rows


def test_the_table_tells_both_sides_with_their_spread() -> None:
    assert "MISS slow 5 [4, 6] /s; fast 11 [10, 12] /s" in report.table([CLAIM.rates(SLOW, FAST)])


def test_every_row_of_the_docs_has_plain_words_in_the_chart() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    names = re.findall(r"^\| ([a-z0-9_]+) \| [\d.,]+ \|", page, re.MULTILINE)
    assert len(names) > 30
    assert set(names) <= set(chart.WORDS)


def test_the_chart_has_a_bar_for_each_measured_row_from_one_to_its_ratio(tmp_path: Path) -> None:
    rows: list[Row] = [CLAIM.rates(FAST, SLOW), CLAIM.rates(SLOW, FAST), CLAIM.missing("a reason")]
    chart.draw(rows, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.height == chart.TOP + 2 * chart.LINE + chart.BOTTOM
        widths = [
            sum(
                picture.getpixel((x, chart.TOP + index * chart.LINE + 14)) == colour
                for x in range(chart.WIDTH)
            )
            for index, colour in enumerate(((47, 125, 79), (192, 118, 43)))
        ]
    assert min(widths) > 50
    # 2.2 and 1 / 2.2 lie equally far from 1.
    assert widths[0] == pytest.approx(widths[1], abs=4)


def test_the_comparison_of_objects_says_what_it_is_for_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["one_call", "--help"])
    monkeypatch.setattr(one_call, "draw", None)
    with pytest.raises(SystemExit) as ended:
        one_call.main()
    assert ended.value.code == 0
    assert "DescribeObjects" in capsys.readouterr().out
