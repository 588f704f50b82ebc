"""The figures of a metrics page, read again: values at one moment, and what has happened between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from featsvc.server.metrics.table import Metric

LabelSet: TypeAlias = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class ReadPage:
    """One page."""

    samples: Mapping[str, Mapping[LabelSet, float]]

    @classmethod
    def of(cls, page: str) -> ReadPage:
        """What a page says. Raises ValueError where it is none of Prometheus' text."""
        samples: dict[str, dict[LabelSet, float]] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(samples)

    def rows(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All values of a name, with their labels."""
        return ((dict(labels), value) for labels, value in self.samples.get(name, {}).items())

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the values that have these labels."""
        asked = labels.items()
        return sum(value for found, value in self.samples.get(name, {}).items() if asked <= found)

    def values(self, metric: Metric, label: str) -> list[str]:
        """The values that a label has there, sorted."""
        names = (metric.name, f"{metric.name}_count")
        return sorted({found[label] for name in names for found, _ in self.rows(name) if label in found})


@dataclass(frozen=True)
class Span:
    """What has happened between two readings; with one alone, since the server's start."""

    now: ReadPage
    seconds: float
    before: ReadPage

    def rate(self, name: str, **labels: str) -> float:
        """Of a counter, a second. One that begins anew counts from there."""
        return max(0.0, self._more(name, **labels)) / self.seconds

    def quantile(self, part: float, metric: Metric, **labels: str) -> float | None:
        """Of a histogram, the upper bound of the bucket; None where nothing has happened."""
        name = f"{metric.name}_bucket"
        bounds = sorted({float(found["le"]) for found, _ in self.now.rows(name)})
        counts = [self._more(name, le=_written(bound), **labels) for bound in bounds]
        if not counts or counts[-1] <= 0:
            return None
        return next(bound for bound, count in zip(bounds, counts, strict=True) if count >= part * counts[-1])

    def _more(self, name: str, **labels: str) -> float:
        return self.now.sum(name, **labels) - self.before.sum(name, **labels)


def _written(bound: float) -> str:
    """As the page has it."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
