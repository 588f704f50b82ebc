"""Which worker knows best what a job is about, such as a picture."""

from __future__ import annotations

from featsvc.pool.scheduling.in_flight import InFlight
from featsvc.pool.scheduling.queue import AffinityKey

MOST_KNOWN = 256  # affinity keys that a worker is remembered for, more than it can have in memory


class Homes:
    """Who was given each affinity key last."""

    def __init__(self) -> None:
        self._holders: dict[AffinityKey, InFlight] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def home(self, key: AffinityKey, is_overdue: bool) -> int | None:
        """The worker that has it in flight, and for a while the one that had it last; None where any may take it."""
        holder = self._holders.get(key)
        if holder is None or (is_overdue and not holder.is_about(key)):
            return None
        return holder.worker

    def is_known(self, key: AffinityKey) -> bool:
        """Whether the worker that was given it last has answered about it."""
        holder = self._holders.get(key)
        return holder is not None and holder.affinities[key]

    def note(self, state: InFlight, key: AffinityKey) -> list[AffinityKey]:
        """From now on this worker knows it best; the keys whose home is another by that."""
        state.affinities.setdefault(key, False)
        state.affinities.move_to_end(key)
        self._holders[key] = state
        forgotten = self._forget_oldest(state) if len(state.affinities) > MOST_KNOWN else []
        return [*forgotten, key]

    def forget(self, state: InFlight) -> list[AffinityKey]:
        """A worker knows nothing any more; the same."""
        forgotten = list[AffinityKey]()
        while state.affinities:
            forgotten += self._forget_oldest(state)
        return forgotten

    def _forget_oldest(self, state: InFlight) -> list[AffinityKey]:
        key, _ = state.affinities.popitem(last=False)
        if self._holders.get(key) is not state:
            return []
        del self._holders[key]
        return [key]
