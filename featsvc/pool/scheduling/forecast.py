"""What an entry will cost, and how long it will wait."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from featsvc.pool.contract.job import JobEstimate
from featsvc.pool.scheduling.affinity import Homes
from featsvc.pool.scheduling.costs import Costs, Pace
from featsvc.pool.scheduling.in_flight import InFlight
from featsvc.pool.scheduling.queue import Queue, QueueEntry


class Forecast:
    """Looks at the queue and the workers, and changes neither."""

    def __init__(
        self, queue: Queue, homes: Homes, workers: Mapping[int, InFlight], costs: Costs, pace: Pace
    ) -> None:
        self._answer_bytes = Costs(0.0)
        self._queue = queue
        self._homes = homes
        self._workers = workers
        self._costs = costs
        self._pace = pace

    def cost(self, entry: QueueEntry) -> None:
        """Tell an entry what it will cost, about."""
        if entry.job.affinity:
            entry.note_known(self._homes.is_known(entry.affinity_key))
        entry.cost_s = self._costs.expected(entry.cost_key, entry.pictures)

    def note_answer(self, entry: QueueEntry, nbytes: int) -> None:
        """An entry is answered by so much; whether its worker knew what it is about does not change that."""
        self._answer_bytes.learn(entry.cost_key._replace(is_known=False), nbytes)

    def of(self, entry: QueueEntry, alive: Collection[int]) -> JobEstimate:
        """What is to be expected of an entry that is not queued, where these workers take work."""
        self.cost(entry)
        models, workers = entry.job.models, [self._workers[each] for each in alive]
        return JobEstimate(
            entry.cost_s,
            self._costs.basis(entry.cost_key),
            self._wait_s(entry, workers),
            any(each.models.issuperset(models) for each in workers),
            entry.nbytes,
            int(self._answer_bytes.expected(entry.cost_key._replace(is_known=False))),
        )

    def _wait_s(self, entry: QueueEntry, workers: Collection[InFlight]) -> float:
        """Until the first worker is done with what it has, and then what its caller has ahead of it, at its share."""
        now, flow = time.monotonic(), self._queue.flows.of(entry.job.caller)
        first_s = min((_left_s(each, now) for each in workers), default=0.0)
        order = -entry.job.priority, entry.due
        ahead_s = sum(each.cost_s for each in flow.entries if each.order[:2] <= order)
        return first_s + ahead_s / (self._pace.per_s(now, len(workers)) * self._queue.flows.share(flow))


def _left_s(worker: InFlight, now: float) -> float:
    """What a worker has still to do of what it has, by what that was predicted to cost."""
    began_at = next((batch.began_at for batch in worker.batches.values() if batch.began_at is not None), now)
    return max(0.0, sum(entry.cost_s for entry in worker.entries()) - (now - began_at))
