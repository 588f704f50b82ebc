"""Which batch a worker with a free place gets next. Pure bookkeeping: no processes, no timers.

A suspect is an entry that was in flight when a worker died. Nobody knows which of those in flight was the cause, so
each runs alone, on a worker that has nothing else; one worker is emptied for that, and the others go on.

What takes long pauses at a worker for what is short, so the last places of a worker are for what is short: whatever one
caller has asked for, a click of another is at the worker at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable

from featsvc.errors import Overloaded
from featsvc.pool.contract.messages import Computes, GoesOn
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.scheduling.affinity import Homes
from featsvc.pool.scheduling.choice import Choice
from featsvc.pool.scheduling.costs import Costs, Pace
from featsvc.pool.scheduling.forecast import Forecast
from featsvc.pool.scheduling.in_flight import Batch, InFlight
from featsvc.pool.scheduling.limits import QueueLimits
from featsvc.pool.scheduling.queue import AffinityKey, Queue, QueueEntry
from featsvc.pool.scheduling.suspects import Suspects


class Scheduler:
    """The queue with its limits, what each worker has in flight, and the choice of the next batch."""

    def __init__(self, settings: PoolSettings) -> None:
        self._homes = Homes()
        self.queue = Queue(self._homes.home)
        self._settings = settings
        self._workers: dict[int, InFlight] = {}
        self._entries: dict[int, QueueEntry] = {}  # in flight
        self._full: set[int] = set()  # workers without a free place, which need not be asked
        self._suspects = Suspects(self.queue)
        self._batch_ids = itertools.count(1)
        self._costs = Costs()
        self._pace = Pace()
        self.forecast = Forecast(self.queue, self._homes, self._workers, self._costs, self._pace)
        self._choice = Choice(settings, self.queue, self._workers, self._costs)
        self.limits = QueueLimits(settings, self.queue, self._pace)
        self._slots = settings.slots_per_worker

    # The workers.

    def add_worker(self, worker: int) -> None:
        """From now on there is this worker."""
        self._workers[worker] = InFlight(worker)

    def retire_worker(self, worker: int) -> None:
        """Give a worker nothing more; what it has in flight it completes."""
        state = self._workers[worker]
        state.is_leaving = True
        self._rehome(self._homes.forget(state))

    def remove_worker(self, worker: int) -> None:
        """From now on there is no such worker; it must have nothing in flight."""
        del self._workers[worker]
        self._full.discard(worker)

    def in_flight(self, worker: int) -> InFlight:
        """What a worker has in flight, to be read."""
        return self._workers[worker]

    def entry(self, item: int) -> QueueEntry | None:
        """An entry in flight."""
        return self._entries.get(item)

    def set_models(self, worker: int, models: frozenset[str]) -> None:
        """A worker says what it has loaded."""
        self._workers[worker].note_models(models)

    def note_progress(self, worker: int, message: GoesOn | Computes) -> None:
        """A worker says that a batch lets short ones pass, or which one it computes."""
        state = self._workers[worker]
        if isinstance(message, Computes):
            state.note_computing(message)
            return
        state.let_pass(message)
        self._full.discard(worker)
        if message.takes_s and (batch := state.batches.get(message.batch)):
            item_s = message.takes_s / batch.size
            for entry in batch.entries.values():
                self._costs.learn_least(entry.cost_key, item_s, entry.pictures)
                self.queue.flows.charge(entry, max(entry.charged_s, item_s))

    def left_s(self, worker: int) -> float | None:
        """Seconds that a worker still has for what it is at, for the others wait for it; None where it has nothing."""
        return min(map(self._batch_left_s, self._workers[worker].timed()), default=None)

    def overdue(self, worker: int) -> Batch:
        """The batch whose time is over first, of a worker that has some."""
        return min(self._workers[worker].timed(), key=self._batch_left_s)

    def _batch_left_s(self, batch: Batch) -> float:
        now = time.monotonic()
        batch.watched_since = batch.watched_since or now
        # A load may be a download.
        is_loading = batch.began_at is None
        s = self._settings
        limit_s = s.load_timeout_s if is_loading else s.batch_timeout_s * len(batch.entries)
        return batch.watched_since + limit_s - now

    # The queue.

    def admit(self, entry: QueueEntry, workers: int) -> list[tuple[QueueEntry, Overloaded]]:
        """Queue a new entry, or refuse it; those that have given way for it, each with what its caller is told."""
        now = time.monotonic()
        self.forecast.cost(entry)
        entry.flow = self.queue.flows.of(entry.job.caller)
        leaving = self.limits.giving_way(entry, now, workers)
        for each in leaving:
            self.queue.remove(each)
        self.queue.add(entry)
        if not leaving:
            return []
        return [(each, self.limits.gave_way(each, now, workers)) for each in leaving]

    def release(self, entry: QueueEntry) -> None:
        """An entry has waited long enough for the worker that knows what it is about: let others take it too."""
        if entry.is_waiting and not entry.deaths:
            self.queue.release(entry.affinity_key)

    # Dispatch and completion.

    def dispatch(self, alive: Collection[int]) -> Batch | None:
        """The next batch for any of these workers, the least busy first; None where none may take what waits."""
        states = [self._workers[each] for each in alive if each not in self._full]
        if len(states) > 1:
            states.sort(key=InFlight.load)
        for state in states:
            if batch := self.next_batch(state.worker, alive):
                return batch
        return self._guests_batch(alive) if self.queue.flows.is_guests_turn else None

    def _guests_batch(self, alive: Collection[int]) -> Batch | None:
        """The next batch of a caller who has nothing at work, for a worker whose places busy callers have taken."""
        states = [self._workers[each] for each in alive if each in self._full]
        for state in sorted(states, key=InFlight.load):
            if state.may_be_visited(self._slots) and (
                batch := self.next_batch(state.worker, alive, guests_only=True)
            ):
                return batch
        return None

    def next_batch(self, worker: int, alive: Collection[int], guests_only: bool = False) -> Batch | None:
        """What this worker, one of those that are `alive`, shall run next; the batch is then in flight.

        With `guests_only` it need not have a free place, and gets what is of callers who have nothing at work.
        """
        state = self._workers[worker]
        if not guests_only and state.free_places(self._slots) <= 0:
            self._full.add(worker)
            return None
        if state.is_alone():
            return None
        suspect = self._suspects.next()
        if suspect and state.batches:
            emptied = self._suspects.emptied_of(self._workers[each] for each in alive)
            if worker == emptied and not self._suspects.is_delayed_by(state):
                return None
            suspect = None
        if suspect:
            self._suspects.taken()
        entries = (
            self.queue.take_suspect(suspect) if suspect else self._choice.group(state, alive, guests_only)
        )
        if not entries:
            return None
        is_alone = suspect is not None
        if self.queue.count or self._pace.is_measuring:
            self._pace.note(time.monotonic(), entries, is_more_waiting=self.queue.count > 0)
        goes_first = all(entry.flow.is_guest for entry in entries) and state.has_busy_callers()
        batch = Batch(
            next(self._batch_ids), worker, {entry.id: entry for entry in entries}, is_alone, goes_first
        )
        for entry in entries:
            entry.batch = batch
            entry.flow.at_work += 1
            self._entries[entry.id] = entry
            if entry.job.on_taken is not None:
                entry.job.on_taken()
        state.batches[batch.id] = batch
        if state.models.issuperset(batch.job.models):
            batch.began_at = time.monotonic()
        if batch.job.affinity:
            batch.is_known = state.affinities.get(batch.affinity_key, False)
            for entry in entries:
                entry.note_known(batch.is_known)
            self._rehome(self._homes.note(state, batch.affinity_key))
        return batch

    def completed(self, entry: QueueEntry, cost_s: float | None = None, has_result: bool = True) -> bool:
        """An entry in flight is answered; whether it was the last of its batch.

        `cost_s` are the seconds that it has had of the worker; where nobody knows, it has had what was predicted.
        One without a result may have ended early: what is alike costs that or more.
        """
        assert entry.batch is not None, "in flight"
        batch = entry.batch
        state = self._workers[batch.worker]
        if entry.job.pictures > 1:
            # Of several that came together the first has paid for all pictures, and the others had what it made.
            entry.note_known(batch.is_known or state.affinities.get(batch.affinity_key, False))
        if cost_s is not None:
            if has_result:
                self._costs.learn(entry.cost_key, cost_s, entry.job.pictures)
            else:
                self._costs.learn_least(entry.cost_key, cost_s, entry.pictures)
            self.queue.flows.charge(entry, cost_s)
        if has_result and batch.affinity_key in state.affinities:
            state.affinities[batch.affinity_key] = True
        self._land(entry)
        if batch.entries:
            return False
        self._close(state, batch)
        return True

    def dropped(self, entry: QueueEntry) -> None:
        """An entry in flight never reached its worker, of which nothing is learned by that."""
        self.queue.flows.charge(entry, 0.0)
        batch = self._land(entry)
        if not batch.entries:
            self._close(self._workers[batch.worker], batch)

    def resend(self, entry: QueueEntry) -> None:
        """Queue an entry once more, to be sent whole: its worker has lost what it knew."""
        assert entry.batch is not None, "in flight"
        state = self._workers[entry.batch.worker]
        self.dropped(entry)
        if entry.affinity_key in state.affinities:
            state.affinities[entry.affinity_key] = False
        entry.is_wanted_whole = True
        self.queue.add(entry)

    def lost(self, worker: int) -> list[QueueEntry]:
        """A worker has died, and with it all that it knew: what it had in flight, which is so no more."""
        state = self._workers[worker]
        entries = list(state.entries())
        for entry in entries:
            self._land(entry)
        for batch in tuple(state.batches.values()):
            self._close(state, batch)
        state.models = frozenset()
        self._rehome(self._homes.forget(state))
        return entries

    def _land(self, entry: QueueEntry) -> Batch:
        batch, entry.batch = entry.batch, None
        assert batch is not None, "in flight"
        entry.flow.at_work -= 1
        del batch.entries[entry.id], self._entries[entry.id]
        if not (self._entries or self.queue.count):
            self.queue.flows.rest()
        batch.watched_since = None  # the time of the others begins anew
        return batch

    def _close(self, state: InFlight, batch: Batch) -> None:
        del state.batches[batch.id]
        self._full.discard(state.worker)
        if batch.job.affinity:
            self.queue.rehome(batch.affinity_key)

    def _rehome(self, keys: Iterable[AffinityKey]) -> None:
        for key in keys:
            self.queue.rehome(key)
