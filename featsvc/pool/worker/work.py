"""What a worker computes: items ready for the device, those of a batch, and those that share a pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featsvc.errors import FeatsvcError
from featsvc.pool.contract.engine_protocol import EngineModel
from featsvc.pool.contract.messages import BatchItem, ItemTiming, Outcome, RunBatch
from featsvc.pool.worker.failures import end_if_lost, for_caller
from featsvc.pool.worker.pauses import Clock, WorkKind
from featsvc.work.sizes import result_bytes


@dataclass(frozen=True, eq=False)
class PreparedItem:
    """An item ready for the device."""

    batch_item: BatchItem
    value: Any  # Any: only the engines look inside
    key: Hashable
    pixels: int
    flop: float
    began_at: float = field(default_factory=time.monotonic)
    """When its preparation began."""
    prepared_at: float = field(default_factory=time.monotonic)
    lost_s: float = 0.0
    """Its part of the passes that came to nothing."""

    def without_result(self, error: FeatsvcError | None = None) -> Outcome:
        """Its answer where there is no result: the error, or that it was skipped; with the seconds it has had."""
        timing = ItemTiming.of_unanswered(self.prepared_at - self.began_at, self.lost_s)
        return Outcome(self.batch_item.id, error=error, skipped=error is None, timing=timing)


@dataclass(frozen=True, eq=False)
class Work:
    """The prepared items of a batch, and the model they need, which is pinned."""

    batch: RunBatch
    loaded: EngineModel
    items: list[PreparedItem]
    is_alone: bool = False
    """Whether it may not run while another pass pauses: there was no memory for both."""

    @property
    def kind(self) -> WorkKind:
        """What decides how long its arithmetic takes, and what memory it needs."""
        return self.batch.operation, (self.batch.model, *self.batch.also)

    @property
    def flop(self) -> float:
        """Arithmetic of all items."""
        return sum(item.flop for item in self.items)


@dataclass(frozen=True, eq=False)
class RunningPass:
    """Items that a device was given together, and when."""

    work: Work
    group: list[PreparedItem]
    clock: Clock

    @property
    def flop(self) -> float:
        """Arithmetic of all items."""
        return sum(item.flop for item in self.group)

    @property
    def pixels(self) -> int:
        """Memory of all items, against the batch budget."""
        return sum(item.pixels for item in self.group)

    def lost(self) -> list[PreparedItem]:
        """Its items after it came to nothing, of which each has had its part of the time."""
        part_s = self.clock.own_s / len(self.group)
        return [replace(item, lost_s=item.lost_s + part_s) for item in self.group]

    def done(self, results: Sequence[object]) -> ComputedPass:
        """Its results, which have just been computed; raises where they are not as many as its items."""
        operation, count = self.work.batch.operation, len(self.group)
        if len(results) != count:
            raise RuntimeError(f"{operation}: {len(results)} results for {count} items")
        return ComputedPass(
            operation, self.group, results, self.clock.began_at, self.clock.own_s, self.clock.paused_s
        )


@dataclass(frozen=True, eq=False)
class ComputedPass:
    """What a pass has computed, before it is written."""

    operation: str
    group: list[PreparedItem]
    results: Sequence[object]
    """One for each item; `Coming` where a device has them."""
    began_at: float
    own_s: float
    paused_s: float

    def without_items(self) -> ComputedPass:
        """The same without what its items were made of, which would be held until it is written."""
        group = [
            replace(each, value=None, batch_item=replace(each.batch_item, item=None)) for each in self.group
        ]
        return replace(self, group=group)

    def outcomes(self, is_wanted: Callable[[BatchItem], bool] = lambda _: True) -> Iterator[Outcome]:
        """One for each item, and what it has taken; where a result cannot be written, its error.

        What is wanted no more by the time that it would be written is skipped.
        """
        size, is_first = len(self.group), True
        for index, item in enumerate(self.group):
            if not is_wanted(item.batch_item):
                yield self._without_result(item)
                continue
            try:
                result = self.results[index]
            except Exception as error:  # libraries raise anything; the others of the pass are answered
                end_if_lost(error)
                told = for_caller(error, item.batch_item.request_id, self.operation)
                yield self._without_result(item, told)
                continue
            took_s = (
                item.prepared_at - item.began_at,
                self.began_at - item.prepared_at,
                self.own_s,
                self.paused_s,
            )
            timing = ItemTiming(*took_s, size, is_first, result_bytes(result))
            yield Outcome(item.batch_item.id, result, timing=timing)
            is_first = False

    def _without_result(self, item: PreparedItem, error: FeatsvcError | None = None) -> Outcome:
        """Its answer where there is none, with its part of the time of the pass."""
        return replace(item, lost_s=item.lost_s + self.own_s / len(self.group)).without_result(error)
