"""What a worker's handle tells the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from featsvc.errors import FeatsvcError
from featsvc.pool.contract.messages import Computes, GoesOn, Outcome, RunBatch

if TYPE_CHECKING:
    from featsvc.pool.workers.handle import WorkerHandle


class Observer(Protocol):
    """Who hears what a worker does."""

    def on_outcome(self, worker: WorkerHandle, outcome: Outcome) -> None:
        """An item in flight is answered."""

    def on_models(self, worker: WorkerHandle, models: frozenset[str]) -> None:
        """The worker has these models now."""

    def on_progress(self, worker: WorkerHandle, message: GoesOn | Computes) -> None:
        """A batch takes long, and lets short ones pass; or another computes than it seemed."""

    def on_unsent(self, worker: WorkerHandle, batch: RunBatch, error: FeatsvcError) -> None:
        """A batch never reached the worker."""

    def on_change(self, worker: WorkerHandle) -> None:
        """The worker takes work now, or has other models: so the living are counted, and other batches possible."""

    def on_room(self, worker: WorkerHandle) -> None:
        """The worker said something else, or did not get a batch: other batches may be possible now."""

    def left_s(self, worker: WorkerHandle) -> float | None:
        """Seconds that the work in flight may still take; None where there is none."""

    def on_overdue(self, worker: WorkerHandle) -> None:
        """The work in flight has taken too long; the worker dies for it."""

    def on_death(self, worker: WorkerHandle, is_its_own: bool) -> None:
        """The worker died, of itself or of what it was given."""

    def on_refusal(self, worker: WorkerHandle, error: FeatsvcError) -> None:
        """The worker cannot work on this machine."""

    def on_defect(self, worker: WorkerHandle) -> None:
        """The end of the worker could not be handled: nobody must go on waiting for what it had."""
