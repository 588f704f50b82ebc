"""What a worker computes: items ready for the device, those of a batch, and those that share a pass."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featsvc.errors import FeatsvcError
from featsvc.pool.contract.engine_protocol import EngineModel
from featsvc.pool.contract.messages import BatchItem, ItemTiming, Outcome, RunBatch
from featsvc.pool.worker.pauses import Clock, WorkKind
from featsvc.work.coming import Coming
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


@dataclass(eq=False)
class Pass:
    """Items that a device is given together."""

    work: Work
    group: list[PreparedItem]
    clock: Clock
    results: Sequence[object] = ()
    """One for each, once it has run."""
    is_last: bool = False
    """Whether no other of its batch comes after it."""

    @property
    def is_here(self) -> bool:
        """Whether its results need no waiting."""
        return not isinstance(self.results, Coming) or self.results.is_here

    @property
    def flop(self) -> float:
        """Arithmetic of all items."""
        return sum(item.flop for item in self.group)

    @property
    def pixels(self) -> int:
        """Memory of all items, against the batch budget."""
        return sum(item.pixels for item in self.group)

    def checked(self) -> list[object]:
        """Its results; waits for them, and raises what was wrong with it."""
        results = list(self.results)
        if len(results) != len(self.group):
            operation = self.work.batch.operation
            raise RuntimeError(f"{operation}: {len(results)} results for {len(self.group)} items")
        return results

    def lost(self) -> list[PreparedItem]:
        """Its items after it came to nothing, of which each has had its part of the time."""
        part_s = self.clock.own_s / len(self.group)
        return [replace(item, lost_s=item.lost_s + part_s) for item in self.group]

    def outcomes(self, results: list[object], own_s: float) -> Iterator[Outcome]:
        """The answers, and what each has taken."""
        size, is_first, clock = len(self.group), True, self.clock
        for item, result in zip(self.group, results, strict=True):
            took_s = (
                item.prepared_at - item.began_at,
                clock.began_at - item.prepared_at,
                own_s,
                clock.paused_s,
            )
            timing = ItemTiming(*took_s, size, is_first, result_bytes(result))
            yield Outcome(item.batch_item.id, result, timing=timing)
            is_first = False
