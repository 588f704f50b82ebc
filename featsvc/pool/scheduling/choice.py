"""What a worker gets next: whose turn it is, what is most urgent of theirs, and what may share its batch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.costs import LONG_S, Costs
from featsvc.pool.scheduling.in_flight import Batch, InFlight
from featsvc.pool.scheduling.queue import Queue, QueueEntry


class Choice:
    """Looks at the queue and the workers, and takes entries out of the queue."""

    def __init__(
        self, settings: PoolSettings, queue: Queue, workers: Mapping[int, InFlight], costs: Costs
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._workers = workers
        self._costs = costs
        self._slots = settings.slots_per_worker

    def group(self, state: InFlight, alive: Collection[int], guests_only: bool) -> list[QueueEntry]:
        """The next batch group for this worker, without callers that have gone."""
        while head := self._next_head(state, alive, guests_only):
            most = self._settings.most_items(head.job.operation.per_picture)
            # Or it would be the one guest that waits for what a busy caller has here, as it asks the same.
            is_apart = guests_only or (head.flow.is_guest and state.has_busy_callers())
            if entries := self._queue.take(head, most, self._settings.max_batch_bytes, is_apart):
                return entries
        return []

    def _next_head(self, state: InFlight, alive: Collection[int], guests_only: bool) -> QueueEntry | None:
        """The most urgent of the caller whose turn it is, among what may run here.

        One whose model is here comes a little before its turn, or models would come and go with the turns.
        """
        affinity_s = self._settings.affinity_s
        long_batches = state.long_batches() if len(state.batches) >= self._slots else []
        if len(long_batches) < self._slots:
            long_batches = []
        chosen, chosen_at = None, math.inf

        def urgency(head: QueueEntry) -> tuple[int, float, int]:
            warmth = state.has(head.job) + (head.affinity_key in state.affinities)
            priority, due, arrival = head.order
            return priority, due - warmth * affinity_s, arrival

        for flow in self._queue.flows.waiting:
            if guests_only and not flow.is_guest:
                break
            if flow.served_s - affinity_s >= chosen_at:
                break
            heads = [
                head
                for head in flow.heads(state.worker)
                if self._has_room(state, head, long_batches, guests_only) and self._suits(state, alive, head)
            ]
            if heads:
                head = heads[0] if len(heads) == 1 else min(heads, key=urgency)
                at = flow.served_s - state.has(head.job) * affinity_s
                if at < chosen_at:
                    chosen, chosen_at = head, at
        return chosen

    def _has_room(
        self, state: InFlight, head: QueueEntry, long_batches: list[Batch], guests_only: bool
    ) -> bool:
        """Whether there is a place for it beside so many that take long, if those are as many as may be."""
        # The place for guests is one more, also where all the others are of one family.
        most = self._settings.max_concurrency + guests_only
        if sum(1 for _ in state.batches_of(head.job.operation.family)) >= most:
            return False
        if not long_batches:
            return True
        cost_s = self._costs.known(head.cost_key)
        if cost_s is not None:
            return cost_s < LONG_S
        # It may be short; but who has so many that are long leaves the last place to others.
        is_others = sum(batch.flow is head.flow for batch in long_batches) < max(2, self._slots)
        return is_others or state.free_places(self._slots) > 1

    def _suits(self, state: InFlight, alive: Collection[int], head: QueueEntry) -> bool:
        """Whether it may run here: where its model is, or on an idle worker if those that have it are busy."""
        if state.has(head.job):
            return True
        holders = [other for each in alive if (other := self._workers[each]).has(head.job)]
        return not holders or (not state.batches and all(holder.batches for holder in holders))
