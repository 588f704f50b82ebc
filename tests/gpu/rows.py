"""What a section finds: lines of the table, which it hands on one by one, so that none is lost with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""By name: whatever JSON holds."""
MOST_SHOWN = 200
"""Letters of one figure in the table; JSON has all of them."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    holds: bool | None = None
    """Whether it is as it should be; None where that is for the reader to judge."""
    figures: Figures = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "passed", False: "FAILED", None: "told"}[self.holds]


def append(row: Row, path: Path) -> None:
    """Adds the row to a file of rows."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(row), default=str) + "\n")


def read(path: Path) -> list[Row]:
    """The rows of a file; who wrote it may have been ended in the middle of the last one."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: Iterable[tuple[str, Row]]) -> str:
    """Rows with their sections, as text."""
    lines = [("section", "what", "", "figures")]
    lines += [(section, row.what, row.verdict, _shown(row.figures)) for section, row in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(3)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(parts: Sequence[str], widths: list[int]) -> str:
    padded = [part.ljust(width) for part, width in zip(parts, widths, strict=False)]
    return "  ".join([*padded, parts[-1]]).rstrip()


def _shown(figures: Figures) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in figures.items())


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    text = " ".join(str(value).split())
    return text if len(text) <= MOST_SHOWN else f"…{text[-MOST_SHOWN:]}"
