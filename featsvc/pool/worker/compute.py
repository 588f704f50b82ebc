"""Groups of prepared items through the engines, as large as fits, as small as they must be."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from featsvc.errors import Abandoned, OutOfMemory
from featsvc.pool.engine_protocol import Engines, Loaded
from featsvc.pool.messages import Cargo, Outcome, RunBatch
from featsvc.pool.worker.failures import for_caller, is_device_lost, is_out_of_memory

log = logging.getLogger("featsvc.pool.worker.compute")


@dataclass(frozen=True, eq=False)
class Prepared:
    """An item ready for the device."""

    cargo: Cargo
    value: Any  # Any: only the engines look inside
    key: Hashable
    pixels: int


@dataclass(frozen=True, eq=False)
class Work:
    """The prepared items of a batch, and the model they need, which is pinned."""

    batch: RunBatch
    loaded: Loaded
    items: list[Prepared]


class Answer(Protocol):
    """Answers items, in one go."""

    def __call__(self, *outcomes: Outcome) -> None: ...


class Compute:
    """Runs one batch at a time. Each item is answered exactly once."""

    def __init__(
        self,
        engines: Engines,
        max_pixels: int,
        answer: Answer,
        is_wanted: Callable[[Cargo], bool],
    ) -> None:
        self._engines = engines
        self._max_pixels = max_pixels
        self._answer = answer
        self._is_wanted = is_wanted
        self._budgets: dict[tuple[str, str], float] = {}  # what memory has taught, by operation and model

    def run(self, work: Work) -> None:
        """Answer all items of a batch."""
        groups: dict[Hashable, list[Prepared]] = {}
        for item in work.items:
            groups.setdefault(item.key, []).append(item)
        todo = list(reversed(groups.values()))
        while todo:
            group = self._wanted(todo.pop())
            if group:
                count = self._fitting(work, group)
                if group[count:]:
                    todo.append(group[count:])
                todo.extend(reversed(self._attempt(work, group[:count])))

    def _wanted(self, group: list[Prepared]) -> list[Prepared]:
        """Those of a group that somebody waits for; the others are answered as skipped."""
        wanted = []
        for item in group:
            if self._is_wanted(item.cargo):
                wanted.append(item)
            else:
                self._answer(Outcome(item.cargo.id, skipped=True))
        return wanted

    def _fitting(self, work: Work, group: list[Prepared]) -> int:
        """How many of the group the pixel budget allows, at least one."""
        budget = self._budgets.get((work.batch.operation, work.batch.model), self._max_pixels)
        pixels = 0
        for count, item in enumerate(group):
            pixels += item.pixels
            if count and pixels > budget:
                return count
        return len(group)

    def _attempt(self, work: Work, group: list[Prepared]) -> list[list[Prepared]]:
        """Run a group; returns the parts to try again, if it fails as a whole."""
        batch = work.batch
        try:
            results = self._engines.run(
                batch.operation,
                [item.value for item in group],
                batch.params,
                work.loaded,
                lambda: any(self._is_wanted(item.cargo) for item in group),
            )
            if len(results) != len(group):
                raise RuntimeError(f"{batch.operation}: {len(results)} results for {len(group)} items")
        except Abandoned:
            return [group]  # nobody is left in it, so the next round answers for all of it
        except Exception as error:  # the engines' libraries raise anything; the worker must live on
            return self._after_failure(work, group, error)
        # Together, for each message by itself wakes the pool.
        self._answer(*(Outcome(item.cargo.id, result) for item, result in zip(group, results, strict=True)))
        return []

    def _after_failure(self, work: Work, group: list[Prepared], error: Exception) -> list[list[Prepared]]:
        if is_out_of_memory(error):
            return self._after_out_of_memory(work, group, error)
        if is_device_lost(error):
            log.critical("the device is lost: this worker ends, and another takes over", exc_info=error)
            os._exit(1)
        if len(group) > 1:
            middle = len(group) // 2
            return [group[:middle], group[middle:]]
        cargo = group[0].cargo
        self._answer(Outcome(cargo.id, error=for_caller(error, cargo.request_id, work.batch.operation)))
        return []

    def _after_out_of_memory(
        self, work: Work, group: list[Prepared], error: Exception
    ) -> list[list[Prepared]]:
        batch = work.batch
        if len(group) == 1:
            if not isinstance(error, OutOfMemory):
                error = OutOfMemory(f"{batch.operation}: no memory for this request; try a smaller image")
            self._answer(Outcome(group[0].cargo.id, error=error))
            return []
        budget = sum(item.pixels for item in group) / 2
        self._budgets[batch.operation, batch.model] = budget
        log.warning(
            "out of memory: the batch budget is halved",
            extra={"operation": batch.operation, "model": batch.model, "pixels": budget},
        )
        return [group]
