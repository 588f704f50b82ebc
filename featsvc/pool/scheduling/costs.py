"""What requests cost: seconds of a worker, how many of these are had in a second, and the bytes of their answers."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from featsvc.pool.contract.job import CostBasis

if TYPE_CHECKING:
    from featsvc.pool.scheduling.queue import QueueEntry

FIRST_S = 0.05
"""What a request costs of which nothing is known."""
LONG_S = 1.0
"""What takes longer than this holds only some places of a worker: the others are for what is short."""
SMOOTHING = 0.3
PACE_SMOOTHING = 0.05
"""Less, for workers that begin together make the time between two dispatches nothing, and the next one long."""
ENOUGH = 16  # dispatches, to say how fast they follow each other
MOST_KINDS = 1024

OperationKey = tuple[str, str, bool]
"""Operation, model, and whether the worker knows what it is about."""


class CostKey(NamedTuple):
    """Requests that are taken to cost alike."""

    operation: str
    model: str
    likeness: int
    """Hash of the parameters."""
    size: int
    """As a power of two."""
    is_known: bool
    """Whether the worker knows what it is about."""

    @property
    def of_operation(self) -> OperationKey:
        """Those of the same operation and model."""
        return self.operation, self.model, self.is_known


class Costs:
    """What requests have cost, by what can be known of them before they are looked into.

    Seconds of preparation and of computing together, for either holds others up; or the bytes of their answers. What is
    wrong here is put right when the request is answered: then its caller has paid what it took.
    """

    def __init__(self, first: float = FIRST_S) -> None:
        self._first = first
        self._of_kinds: OrderedDict[CostKey, float] = OrderedDict()  # the longest unused first
        self._of_operations: dict[OperationKey, float] = {}

    def expected(self, key: CostKey, pictures: int = 1) -> float:
        """What a request will cost, about; of so many pictures, where nothing alike is known."""
        known = self._of_kinds.get(key)
        if known is not None:
            return known
        average = self._of_same_model(key)
        return pictures * (self._first if average is None else average)

    def known(self, key: CostKey) -> float | None:
        """What those have cost that are alike; None where there were none."""
        return self._of_kinds.get(key)

    def basis(self, key: CostKey) -> CostBasis:
        """What `expected` is made of."""
        if key in self._of_kinds:
            return "alike"
        return "assumed" if self._of_same_model(key) is None else "same_model"

    def learn(self, key: CostKey, cost: float, pictures: int = 1) -> None:
        """Take note of what one has cost; of several pictures it tells nothing about those of one."""
        self._note(key, self._smoothed(self._of_kinds.get(key, cost), cost))
        if pictures == 1:
            operation = key.of_operation
            self._of_operations[operation] = self._smoothed(self._of_operations.get(operation, cost), cost)

    def learn_least(self, key: CostKey, cost: float, pictures: int = 1) -> None:
        """Take note of what one has cost that goes on."""
        if self.expected(key, pictures) < cost:
            self._note(key, cost)

    def _of_same_model(self, key: CostKey) -> float | None:
        """What others have cost, of a picture.

        What a worker knows may spare it all or little of the work, so who knows and who does not are no measure of each
        other but for the same request.
        """
        average = self._of_operations.get(key.of_operation)
        return self._of_kinds.get(key._replace(is_known=not key.is_known)) if average is None else average

    def _note(self, key: CostKey, cost: float) -> None:
        self._of_kinds[key] = cost
        self._of_kinds.move_to_end(key)
        if len(self._of_kinds) > MOST_KINDS:
            self._of_kinds.popitem(last=False)

    @staticmethod
    def _smoothed(known: float, cost: float) -> float:
        return known + SMOOTHING * (cost - known)


class Pace:
    """How fast what waits is taken: seconds of cost in a second, and how many at once.

    Measured between two dispatches with something waiting all the while, so that what was predicted too high or too
    low is made up for.
    """

    def __init__(self) -> None:
        self._interval_s = self._cost_s = self._items = 0.0
        self._count = 0
        self._since: float | None = None

    def note(self, now: float, entries: Sequence[QueueEntry], is_more_waiting: bool) -> None:
        """A batch was taken of what waits."""
        if self._since is not None:
            self._count += 1
            weight = max(PACE_SMOOTHING, 1 / self._count)
            cost_s = sum(entry.cost_s for entry in entries)
            self._interval_s += weight * (now - self._since - self._interval_s)
            self._cost_s += weight * (cost_s - self._cost_s)
            self._items += weight * (len(entries) - self._items)
        self._since = now if is_more_waiting else None

    @property
    def is_measuring(self) -> bool:
        """Whether something has waited since the last dispatch."""
        return self._since is not None

    def per_s(self, now: float, workers: int) -> float:
        """Seconds of cost that are taken in a second; at first no more than one by each worker."""
        interval_s = max(self._interval_s, 0.0 if self._since is None else now - self._since)
        measured = self._cost_s / interval_s if self._cost_s and interval_s > 0 else math.inf
        # What is taken first only fills the places of the workers.
        return measured if self._count >= ENOUGH else min(measured, max(1, workers))

    @property
    def items(self) -> float:
        """How many are taken at once."""
        return max(1.0, self._items)
