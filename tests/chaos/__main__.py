"""Trials of what may go wrong, one after the other: `python -m tests.chaos [NAME ...] [--long] [--report PATH]`.

Each prints its row as soon as it is done. The short form takes minutes, the long one hours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.connections import connections
from tests.chaos.deaths import kills, restarts, stops
from tests.chaos.fuzz import fuzz
from tests.chaos.guided import guided
from tests.chaos.report import Report
from tests.chaos.soak import soak
from tests.servers import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- trials: begin -->", "<!-- trials: end -->"
HEAD = "| trial | what was done | figures | promise |\n|---|---|---|---|"


@dataclass(frozen=True)
class Trial:
    """What is tried, and how often in both forms."""

    act: Callable[[Path, int], Report]
    short: int
    long: int


TRIALS = {
    "kills": Trial(kills, 50, 1000),
    "stops": Trial(stops, 10, 200),
    "restarts": Trial(restarts, 3, 20),
    "fuzz": Trial(fuzz, 10_000, 1_000_000),
    "guided": Trial(guided, 20_000, 1_000_000),
    "connections": Trial(connections, 1_000, 10_000),
    "soak": Trial(soak, 240, 1800),
}


def main() -> int:
    """Runs the trials that are named, or all; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TRIALS)}; all where none is named")
    parser.add_argument("--long", action="store_true", help="as often as docs/reliability.md tells it")
    parser.add_argument("--times", type=int, help="how often, or how many seconds, in place of both")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    if unknown := set(given.names) - TRIALS.keys():
        parser.error(f"no trial {', '.join(sorted(unknown))}: there are {', '.join(TRIALS)}")
    print(HEAD, flush=True)
    reports = []
    for name in given.names or TRIALS:
        trial = TRIALS[name]
        with tempfile.TemporaryDirectory() as folder:
            report = trial.act(Path(folder), given.times or (trial.long if given.long else trial.short))
        reports.append(report)
        print(report.row(), *(f"    {each}" for each in report.faults), sep="\n", flush=True)
    if given.write:
        before, after = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
        rows = "\n".join(report.row() for report in reports)
        PAGE.write_text(f"{before}{BEGIN}\n{HEAD}\n{rows}\n{END}{after}")
    return 0 if all(report.is_right for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
