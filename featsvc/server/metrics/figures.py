"""Counters and histograms of one metric, by their labels.

Not those of prometheus_client, which lock and look through all buckets for each value: six histograms of a question
cost 5 us of processor time with them, and here all figures of one cost 2, many together. All is counted on the event
loop; `copy` is taken there, and a thread makes the page of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.utils import floatToGoString

from featsvc.server.metrics.table import Metric

Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = Sequence[float] | NDArray[np.float64]
Bucket: TypeAlias = tuple[str, float] | tuple[str, float, Exemplar]
INFINITY = float("inf")
OTHER = "other"
NONE = "none"
"""Where no key was asked for, or none was right."""


class Counters:
    """A counter for each combination of labels."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.values: defaultdict[Labels, float] = defaultdict(float)

    def copy(self) -> Counters:
        """As it is now."""
        found = copy(self)
        found.values = self.values.copy()
        return found

    def forget(self, caller: str) -> None:
        """What was counted of a caller is no longer told."""
        place = self._metric.labels.index("caller")
        for labels in [each for each in self.values if each[place] == caller]:
            del self.values[labels]

    def keep(self, label: str, known: Collection[str]) -> None:
        """Only what was counted of these is told from now on."""
        place = self._metric.labels.index(label)
        for labels in [each for each in self.values if each[place] not in known]:
            del self.values[labels]

    def family(self) -> Family:
        """As Prometheus gets it."""
        metric = self._metric
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """How many values there were in each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, values: Values) -> None:
        """Count values."""
        places = np.searchsorted(self._bounds, values)
        self.counts += np.bincount(places, minlength=self.counts.size)
        self.sum += float(np.sum(values))

    def exemplify(self, value: float, labels: Mapping[str, str]) -> None:
        """Where to look for a value that was counted: the latest of its bucket is told."""
        place = int(np.searchsorted(self._bounds, value))
        self.exemplars[place] = Exemplar(dict(labels), value, time.time())

    def copy(self) -> Histogram:
        """As it is now."""
        found = copy(self)
        found.counts, found.exemplars = self.counts.copy(), self.exemplars.copy()
        return found

    def buckets(self) -> list[Bucket]:
        """Upper bounds, how many values were not above them, and the latest exemplar of each that has one."""
        told, below = list[Bucket](), 0
        bounds = (*self._bounds.tolist(), INFINITY)
        for number, (bound, count) in enumerate(zip(bounds, self.counts.tolist(), strict=True)):
            below += count
            exemplar = self.exemplars.get(number)
            told.append((_bound(bound), below) if exemplar is None else (_bound(bound), below, exemplar))
        return told


def _bound(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


class Histograms:
    """A histogram for each combination of labels."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._of: dict[Labels, Histogram] = {}

    def of(self, *labels: str) -> Histogram:
        """The one with these labels: to be kept by whoever counts often."""
        return self._of.setdefault(labels, Histogram(self._metric.buckets))

    def copy(self) -> Histograms:
        """As it is now."""
        found = copy(self)
        found._of = {labels: histogram.copy() for labels, histogram in self._of.items()}
        return found

    def family(self) -> Family:
        """As Prometheus gets it."""
        metric = self._metric
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, histogram in self._of.items():
            family.add_metric(labels, buckets=histogram.buckets(), sum_value=histogram.sum)
        return family


class CallerNames:
    """The callers that metrics name: those that came first; all further ones are one.

    Whoever may ask with many keys must not grow what Prometheus keeps. Who has no key any more gives way to who comes
    then, and what was counted of it is no longer told.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._gone: set[str] = set()
        self._counters: list[Counters] = []

    def counted_in(self, *counters: Counters) -> None:
        """These have callers among their labels."""
        self._counters += counters

    def keys_changed(self, names: Collection[str]) -> None:
        """These have keys now, and no others."""
        self._gone = self._known.difference(names)

    def label(self, name: str) -> str:
        """What a caller of this name is called."""
        if name in self._known:
            return name
        if not name:
            return NONE
        if len(self._known) >= self._most and not self._gave_way():
            return OTHER
        self._known.add(name)
        return name

    def _gave_way(self) -> bool:
        """Whether one who has no key any more was forgotten for another."""
        if not self._gone:
            return False
        name = self._gone.pop()
        self._known.discard(name)
        for counters in self._counters:
            counters.forget(name)
        return True
