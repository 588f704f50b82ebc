"""What a worker has in flight: the batches that were dispatched to it and are not completed, and what it knows."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from featsvc.pool.contract.job import AnyJob, Brief
from featsvc.pool.contract.messages import BatchItem, Computes, GoesOn, RunBatch
from featsvc.pool.scheduling.costs import LONG_S
from featsvc.pool.scheduling.flows import CallerFlow
from featsvc.pool.scheduling.queue import AffinityKey, QueueEntry

MOST_ASIDE = 4  # batches of a worker that take long and hold no place


@dataclass(eq=False)
class Batch:
    """Entries at a worker that are not yet answered; `alone` when it may share the worker with nothing."""

    id: int
    worker: int
    entries: dict[int, QueueEntry]
    alone: bool
    goes_first: bool = False
    """Before those that its worker has not begun: its callers have nothing else at work."""
    size: int = field(init=False)
    job: AnyJob = field(init=False)
    """One of them: all agree in all that decides about a batch."""
    affinity_key: AffinityKey = field(init=False)
    flow: CallerFlow = field(init=False)
    """Of the caller whose turn it was."""
    dispatched_at: float = field(default_factory=time.monotonic)
    began_at: float | None = None
    """When its model was there."""
    watched_since: float | None = None
    """When its time limit began to run."""
    lets_pass: bool = False
    """It takes long to prepare, or waits for a model: others may be at work meanwhile."""
    waits: bool = False
    """It was ready, or paused, while another computed that is younger."""
    is_aside: bool = False
    """It takes so long that it holds no place."""
    is_long: bool = field(init=False)
    """It was predicted to."""
    is_known: bool = False
    """The worker has answered about what it is about."""

    def __post_init__(self) -> None:
        first = next(iter(self.entries.values()))
        self.size, self.job, self.affinity_key = len(self.entries), first.job, first.affinity_key
        self.flow = first.flow
        self.is_long = self.size * first.cost_s >= LONG_S

    def message(self) -> tuple[RunBatch, int]:
        """What is sent to the worker, and the bytes that it holds."""
        now, items, nbytes = time.monotonic(), [], 0
        for entry in self.entries.values():
            job, content = entry.job, self._content(entry)
            left_s = None if job.deadline is None else job.deadline - now
            items.append(BatchItem(entry.id, job.request_id, content.item, left_s))
            nbytes += content.nbytes
        job = self.job
        batch = RunBatch(
            self.id, job.operation.rpc, job.model, job.params, tuple(items), job.also, self.goes_first
        )
        return batch, nbytes

    def _content(self, entry: QueueEntry) -> AnyJob | Brief:
        job = entry.job
        return job.brief if job.brief and self.is_known and not entry.is_wanted_whole else job


@dataclass(eq=False)
class InFlight:
    """The in-flight state of a live worker. The scheduler alone writes it."""

    worker: int
    models: frozenset[str] = frozenset()
    batches: dict[int, Batch] = field(default_factory=dict)
    """Oldest first."""
    affinities: OrderedDict[AffinityKey, bool] = field(default_factory=OrderedDict)
    """What it was given, latest last, and whether it has answered about that."""
    is_leaving: bool = False
    """It gets no more."""
    told: int | None = None
    """The batch of which it has said last that it computes, where that was not to be presumed."""

    def free_places(self, slots: int) -> int:
        """How many further batches may be dispatched; some that take long take no place."""
        aside = sum(batch.is_aside for batch in self.batches.values())
        return 0 if self.is_leaving else slots - len(self.batches) + min(aside, MOST_ASIDE)

    def may_be_visited(self, slots: int) -> bool:
        """Whether it has a place beyond its own, for who has nothing at work: beside what a busy caller has here."""
        return not self.is_leaving and self.free_places(slots) == 0 and self.has_busy_callers()

    def has_busy_callers(self) -> bool:
        """Whether somebody has something here who has asked for more than that."""
        return any(entry.flow.is_busy for entry in self.entries())

    def long_batches(self) -> list[Batch]:
        """Those that take long, or are about to."""
        return [batch for batch in self.batches.values() if batch.is_aside or batch.is_long]

    def load(self) -> tuple[int, int]:
        """How much it has: the less, the sooner it gets more."""
        return len(self.batches), len(self.models)

    def entries(self) -> Iterator[QueueEntry]:
        """All that is not yet answered."""
        return (entry for batch in self.batches.values() for entry in batch.entries.values())

    def is_alone(self) -> bool:
        """Whether a batch is in flight that may share the worker with nothing."""
        return any(batch.alone for batch in self.batches.values())

    def timed(self) -> tuple[Batch, ...]:
        """Those whose time runs: the one that computes, and the oldest unless that is known to wait.

        As long as nothing else is told these are one: either the oldest computes, or nothing does.
        """
        oldest = next(iter(self.batches.values()), None)
        if oldest is None:
            return ()
        computes = self.batches.get(self.told, oldest) if self.told is not None else oldest
        return (computes,) if computes is oldest or oldest.waits else (computes, oldest)

    def is_at_work(self, batch: Batch) -> bool:
        """Whether it is certain that this one of those that are timed is computed or prepared, and no other."""
        if self.told in self.batches:
            return batch.id == self.told
        return not batch.lets_pass or len(self.batches) == 1

    def is_about(self, key: AffinityKey) -> bool:
        """Whether some batch in flight is about this."""
        return any(batch.affinity_key == key for batch in self.batches.values())

    def has(self, job: AnyJob) -> bool:
        """All its models are loaded here, or about to be for batches in flight."""
        return self.has_model(job.model) and all(map(self.has_model, job.also))

    def has_model(self, model: str) -> bool:
        """This one is."""
        return model in self.models or any(model in batch.job.models for batch in self.batches.values())

    def batches_of(self, family: str) -> Iterator[Batch]:
        """Those of a family that hold a place."""
        batches = self.batches.values()
        return (each for each in batches if each.job.operation.family == family and not each.is_aside)

    def note_models(self, models: frozenset[str]) -> None:
        """Note which models are loaded, and so since when each batch has its own."""
        self.models = models
        now = time.monotonic()
        for batch in self.batches.values():
            if models.issuperset(batch.job.models) != (batch.began_at is not None):
                batch.began_at = now if batch.began_at is None else None
                batch.watched_since = None

    def note_computing(self, message: Computes) -> None:
        """Note which batch computes; the time of those that wait for it does not run."""
        self.told = message.batch
        for each in map(self.batches.get, (message.batch, *message.waiting)):
            if each:
                each.waits = each.id != message.batch
                each.watched_since = None

    def let_pass(self, message: GoesOn) -> None:
        """Note that a batch lets short ones pass; if the thread that computes says so, the worker has not hung."""
        if found := self.batches.get(message.batch):
            found.is_aside = True
            found.lets_pass = found.lets_pass or not message.computes
            found.watched_since = None
        if message.computes:
            for each in self.batches.values():
                each.watched_since = None
