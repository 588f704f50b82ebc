"""`python -m tests.bench [--quick] [--only NAME …] [--repetitions N] [--chart PATH]`."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench import chart, report
from tests.bench.figures import Claim, Row
from tests.bench.rows import ROWS
from tests.bench.stand import FOLDER, FULL, QUICK, Stand

Measure = Callable[[Stand], list[Row]]


def main() -> int:
    """Runs the rows and writes what they found; 1 where a row failed, whatever the ratios are."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions of fewer rows")
    parser.add_argument("--only", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=0, help="of each side of each row")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of every side")
    parser.add_argument("--chart", type=Path, default=FOLDER / "chart.png", help="where the chart goes")
    asked = parser.parse_args()
    pace = QUICK if asked.quick else FULL
    pace = replace(pace, repetitions=asked.repetitions or pace.repetitions)
    # As Ctrl-C: the stand must end the servers it started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    rows: list[Row] = []
    failed = False
    began = time.monotonic()
    with Stand(pace, asked.threads) as stand:
        if asked.only == tuple(ROWS):
            stand.start_all()
        for name in asked.only:
            started = time.monotonic()
            try:
                rows += ROWS[name](stand)
            except Exception:  # one row that fails must not cost the others
                traceback.print_exc()
                rows.append(Claim(name, name, 0).missing(f"failed: {traceback.format_exc(limit=1)[-200:]}"))
                failed = True
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            report.write(rows, FOLDER / "results.json")
    print(f"{platform.processor() or platform.machine()}, {asked.threads} compute thread(s) on every side")
    print(report.table(rows))
    print(f"{time.monotonic() - began:.0f} s; figures in {FOLDER.name}/results.json")
    if any(row.available for row in rows):
        chart.draw(rows, asked.chart)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
