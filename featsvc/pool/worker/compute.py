"""Groups of prepared items through the engines, as large as fits, as small as they must be.

Between the steps of a long pass short work runs that others wait for, in the same thread: the engines ask whether a
pass is still wanted, and the answer may take as long as that.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace
from typing import Protocol

from featsvc.errors import Abandoned, OutOfMemory, is_out_of_memory
from featsvc.pool.contract.engine_protocol import WorkerEngines
from featsvc.pool.contract.messages import BatchItem, Computes, GoesOn, Outcome
from featsvc.pool.worker.budget import PixelBudget
from featsvc.pool.worker.failures import end_if_lost, for_caller
from featsvc.pool.worker.pauses import LONG_S, PAUSE_S, Clock, Rates, WorkKind, WorkQueue
from featsvc.pool.worker.work import ComputedPass, PreparedItem, RunningPass, Work

log = logging.getLogger("featsvc.pool.worker.compute")


class ComputeHost(Protocol):
    """Who gives work, and takes its answers."""

    queue: WorkQueue[Work]

    def answer_computed(self, *outcomes: Outcome) -> None:
        """Takes answers, in one go."""

    def answer_pass(self, answers: ComputedPass) -> None:
        """Takes what a pass has computed, and writes it, now or while the next one computes."""

    def is_wanted(self, item: BatchItem) -> bool:
        """Whether somebody waits for an item."""

    def is_presumed(self, batch: int) -> bool:
        """Whether the pool takes this batch for the one that computes; else it is to be told, and from then on does."""

    def tell(self, message: GoesOn | Computes) -> None:
        """Hears which batch computes, and that one is no reason to wait for: it takes long, begun or not."""

    def finish_writing(self) -> bool:
        """Waits until all that was computed is written; whether any was not."""

    def make_room(self) -> bool:
        """Sends away what is in memory and nobody uses; whether there was anything."""

    def done_with(self, work: Work) -> None:
        """All items are answered."""


class Compute:
    """Runs one batch at a time, but for pauses. Each item is answered exactly once."""

    def __init__(
        self, engines: WorkerEngines, max_pixels: int, regrow_after_s: float, host: ComputeHost
    ) -> None:
        self._engines = engines
        self._host = host
        self._rates = Rates()
        self._pausing: list[Work] = []
        """Those that wait below the one that computes."""
        self._postponed: list[PreparedItem] = []
        self._reported: set[int] = set()
        """Batches of which the pool knows that they take long, and short ones need not wait for them."""
        self._written_before: set[int] = set()
        """Batches that lacked memory, and for which passes before them were written."""
        self._budgets = defaultdict[WorkKind, PixelBudget](lambda: PixelBudget(max_pixels, regrow_after_s))

    def run(self, work: Work) -> None:
        """Answer all items of a batch."""
        self._answer_all(work)
        self._done_with(work)

    def _done_with(self, work: Work) -> None:
        self._reported.discard(work.batch.id)
        self._written_before.discard(work.batch.id)
        self._host.done_with(work)

    def _run_beside(self, work: Work) -> None:
        """The same while another pass pauses; what needs the memory that this one has waits for its turn."""
        outer, self._postponed = self._postponed, []
        try:
            self._answer_all(work)
        finally:
            postponed, self._postponed = self._postponed, outer
        if postponed:
            self._host.queue.put_back(replace(work, items=postponed, is_alone=True), work.batch.goes_first)
        else:
            self._done_with(work)

    def _answer_all(self, work: Work) -> None:
        self._note_computing(work)
        groups: dict[Hashable, list[PreparedItem]] = {}
        for item in work.items:
            groups.setdefault(item.key, []).append(item)
        todo = list(reversed(groups.values()))
        clock: Clock | None = None
        while todo:
            group = self._wanted(todo.pop())
            if group:
                count = self._fitting(work, group)
                if group[count:]:
                    todo.append(group[count:])
                clock = Clock(clock)
                todo.extend(reversed(self._attempt(work, group[:count], clock)))

    def _note_computing(self, work: Work) -> None:
        """Have the pool know which batch computes: what hangs is not to be taken for one that waits."""
        batch = work.batch.id
        if work.items and not self._host.is_presumed(batch):
            waiting = {each.batch.id for each in (*self._host.queue.now(), *self._pausing)}
            self._host.tell(Computes(batch, tuple(waiting - {batch})))

    def _wanted(self, group: list[PreparedItem]) -> list[PreparedItem]:
        """Those of a group that somebody waits for; the others are answered as skipped."""
        wanted = []
        for item in group:
            if self._host.is_wanted(item.batch_item):
                wanted.append(item)
            else:
                self._host.answer_computed(item.without_result())
        return wanted

    def _fitting(self, work: Work, group: list[PreparedItem]) -> int:
        """How many of the group the pixel budget allows, at least one."""
        budget = self._budgets[work.kind].pixels()
        pixels = 0
        for count, item in enumerate(group):
            pixels += item.pixels
            if count and pixels > budget:
                return count
        return len(group)

    def _attempt(self, work: Work, group: list[PreparedItem], clock: Clock) -> list[list[PreparedItem]]:
        """Run a group; returns the parts to try again, if it fails as a whole."""
        batch = work.batch

        def wanted() -> bool:
            if clock.earned_s > PAUSE_S:
                self._pause(work, clock)
            return any(self._host.is_wanted(item.batch_item) for item in group)

        own = RunningPass(work, group, clock)
        try:
            results = self._engines.run(
                batch.operation,
                [item.value for item in group],
                batch.params,
                work.loaded,
                wanted,
            )
            answers = own.done(results)
        except Abandoned:
            return [own.lost()]  # nobody is left in it, so the next round answers for all of it
        except Exception as error:  # the engines' libraries raise anything; the worker must live on
            return self._after_failure(work, own.lost(), error)
        self._budgets[work.kind].fitted(own.pixels)
        self._rates.learn(work.kind, own.flop, answers.own_s)
        self._host.answer_pass(answers)
        return []

    def _pause(self, work: Work, clock: Clock) -> None:
        """Run what is short, for no longer in all than the pass has computed since its last pause."""
        if clock.is_to_tell():
            self._tell(work, clock.batch_s)
        for other in self._host.queue.now():
            if other.batch.id not in self._reported and self._seconds(other) > LONG_S:
                self._tell(other, 0.0)
        began = time.monotonic()
        until = began + clock.earned_s

        def suits(other: Work) -> bool:
            return not other.is_alone and time.monotonic() + self._seconds(other) <= until

        ran = False
        self._pausing.append(work)
        try:
            while (short := self._host.queue.take_first(suits)) is not None:
                self._run_beside(short)
                ran = True
        finally:
            self._pausing.pop()
        if ran:
            self._note_computing(work)
            clock.resume(began)

    def _tell(self, work: Work, computed_s: float) -> None:
        self._reported.add(work.batch.id)
        takes_s = max(computed_s, self._seconds(work))
        self._host.tell(GoesOn(work.batch.id, computes=True, takes_s=takes_s))

    def _seconds(self, work: Work) -> float:
        return self._rates.seconds(work.kind, work.flop)

    def _after_failure(
        self, work: Work, group: list[PreparedItem], error: Exception
    ) -> list[list[PreparedItem]]:
        if is_out_of_memory(error):
            return self._after_out_of_memory(work, group, error)
        end_if_lost(error)
        if len(group) > 1:
            middle = len(group) // 2
            return [group[:middle], group[middle:]]
        (item,) = group
        told = for_caller(error, item.batch_item.request_id, work.batch.operation)
        self._host.answer_computed(item.without_result(told))
        return []

    def _after_out_of_memory(
        self, work: Work, group: list[PreparedItem], error: Exception
    ) -> list[list[PreparedItem]]:
        batch = work.batch
        # What is not written holds memory, of which a batch that has it all can do with more. Once: while a long pass
        # pauses there may always be some.
        if batch.id not in self._written_before:
            self._written_before.add(batch.id)
            if self._host.finish_writing():
                return [group]
        if len(group) == 1:
            if self._pausing:
                self._postponed += group
                return []
            if self._host.make_room():
                return [group]
            if not isinstance(error, OutOfMemory):
                error = OutOfMemory(f"{batch.operation}: no memory for this request; try a smaller image")
            self._host.answer_computed(group[0].without_result(error))
            return []
        budget = self._budgets[work.kind].lacked(sum(item.pixels for item in group))
        log.warning(
            "out of memory: the batch budget is halved",
            extra={"operation": batch.operation, "model": batch.model, "pixels": budget},
        )
        return [group]
