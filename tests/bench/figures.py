"""Measured figures and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

TINY = 1e-9


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its name, and the median and quartiles of what was measured."""

    name: str
    median: float
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, name: str, values: Sequence[float]) -> Side:
        """The quartiles of four or more values, the extremes of fewer."""
        low, high = min(values), max(values)
        if len(values) >= 4:
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(name, statistics.median(values), low, high, len(values))


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is turned so that higher is better, and is to reach `target`."""

    name: str
    what: str
    unit: str
    ratio: float
    target: float
    sides: tuple[Side, ...]
    notes: str = ""
    facts: dict[str, float | int | bool | str] = field(default_factory=dict)
    available: bool = True

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.available and self.ratio >= self.target

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {**asdict(self), "reached": self.reached}


@dataclass(frozen=True)
class Claim:
    """What a row is to show: a ratio of at least `target`, or a figure of at most that much."""

    name: str
    what: str
    target: float

    def rates(self, ours: Side, theirs: Side, notes: str = "") -> Row:
        """The row of two rates: ours over theirs."""
        return self._row("/s", ours.median / theirs.median, (ours, theirs), notes)

    def times(self, ours: Side, theirs: Side, unit: str, notes: str = "") -> Row:
        """The row of two durations or sizes: theirs over ours."""
        return self._row(unit, theirs.median / ours.median, (ours, theirs), notes)

    def limit(self, ours: Side, unit: str, notes: str = "") -> Row:
        """The row of a figure that must not exceed the target: the target over it, so it is to reach 1."""
        ratio, notes = self.target / max(ours.median, TINY), f"limit {self.target:g} {unit}. {notes}".strip()
        return Row(self.name, self.what, unit, ratio, 1.0, (ours,), notes)

    def missing(self, reason: str) -> Row:
        """The row where nothing can be measured, with the reason."""
        return Row(
            self.name, self.what, "", 0.0, self.target, (), f"not available yet: {reason}", available=False
        )

    def _row(self, unit: str, ratio: float, sides: tuple[Side, ...], notes: str) -> Row:
        return Row(self.name, self.what, unit, ratio, self.target, sides, notes)
