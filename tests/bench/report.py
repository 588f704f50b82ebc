"""The table and the results file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Row, Side


def shown(side: Side, unit: str) -> str:
    """Median and spread, such as `41.2 [40.9, 41.6] ms`."""
    return f"{number(side.median)} [{number(side.low)}, {number(side.high)}] {unit}".rstrip()


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """All rows as text: what, both sides with their spread, ratio and target."""
    lines = [
        f"{'row':<24} {'ratio':>8} {'target':>7}      sides: median [quartiles, or extremes of fewer than 4]"
    ]
    for row in rows:
        if not row.available:
            lines.append(f"{row.name:<24} {'-':>8} {number(row.target):>7}      {row.notes}")
            continue
        mark = "ok  " if row.reached else "MISS"
        sides = "; ".join(f"{side.name} {shown(side, row.unit)}" for side in row.sides)
        lines.append(f"{row.name:<24} {number(row.ratio):>8} {number(row.target):>7} {mark} {sides}")
        lines.append(f"{'':<42}{row.what}{'. ' if row.notes else ''}{row.notes}")
    met = sum(row.reached for row in rows)
    lines.append(f"{met} of {len(rows)} targets reached; ratios are turned so that higher is better")
    return "\n".join(lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """All rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.plain() for row in rows], indent=1) + "\n")


def read(path: Path) -> list[Row]:
    """The rows of a results file."""
    rows = []
    for plain in json.loads(path.read_text()):
        plain.pop("reached")
        rows.append(Row(**{**plain, "sides": tuple(Side(**side) for side in plain["sides"])}))
    return rows
