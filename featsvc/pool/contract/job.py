"""What the gateway asks of the pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from featsvc.pool.contract.messages import ItemTiming

if TYPE_CHECKING:
    # Checks of settings and parameters take a tenth of a second to import, and a worker needs none of them here.
    from featsvc.work.caller import Caller
    from featsvc.work.operations import Operation
    from featsvc.work.results import Result

R = TypeVar("R", bound="Result")


@dataclass(frozen=True)
class Brief:
    """An item that names what it is about and does not hold it."""

    item: object
    nbytes: int


@dataclass(slots=True)
class JobTimes:
    """How a job spends its time, by time.monotonic of this process. The pool writes what is not known at first."""

    arrived_at: float = field(default_factory=time.monotonic)
    dispatched_at: float | None = None
    """When it was last sent to a worker; None where it never left the queue."""
    answered_at: float = 0.0
    worker: int | None = None
    """Who answered."""
    precision: str = ""
    """What that worker's networks compute in."""
    at_worker: ItemTiming | None = None
    """Where there is a result."""

    def note(self, dispatched_at: float, worker: int, precision: str, timing: ItemTiming | None) -> None:
        """A worker has answered."""
        self.dispatched_at, self.answered_at = dispatched_at, time.monotonic()
        self.worker, self.precision, self.at_worker = worker, precision, timing


@dataclass(slots=True)
class Job(Generic[R]):
    """One item for one model; jobs of one operation, model and params may share a batch."""

    operation: Operation[Any, Any, R]
    model: str
    params: Hashable  # a frozen schema class; the pool only compares it
    item: object  # opaque here: only the engines look inside
    deadline: float | None = (
        None  # by time.monotonic of this process; a worker is told the seconds that are left
    )
    nbytes: int = 0  # what it holds in memory while it waits
    caller: Caller | None = None  # None where nobody with a key asks
    request_id: str = ""  # for the log
    priority: int = 0  # of what its caller has waiting the highest comes first
    question: Hashable = None  # equal for items that are the same; None where that cannot be told
    affinity: str = ""  # what it is about, such as a picture: a worker that knows this already is faster
    brief: Brief | None = None  # for a worker that knows it; who does not raises ContentWanted
    times: JobTimes = field(default_factory=JobTimes)
    pictures: int = 1  # that it is computed from, each about as much work as the one of an ordinary job
    also: tuple[str, ...] = ()  # further models that it needs, which follow from its params
    on_taken: Callable[[], object] | None = None  # is called when it leaves the queue for a worker, each time

    @property
    def models(self) -> tuple[str, ...]:
        """All that it needs; one may stand here several times."""
        return (self.model, *self.also)


AnyJob: TypeAlias = Job[Any]
"""Where it does not matter what comes of it."""


CostBasis: TypeAlias = Literal["assumed", "same_model", "alike"]
"""What is known of a cost: nothing, what others have cost of the operation and model, or those that are alike too."""


@dataclass(frozen=True)
class JobEstimate:
    """What is to be expected of a job that nobody has asked for yet."""

    cost_s: float
    """Seconds of a worker."""
    basis: CostBasis
    wait_s: float
    """Seconds until a worker begins with it."""
    model_loaded: bool
    """Whether a worker has its model in memory."""
    queue_bytes: int
    """What it would hold while it waits."""
    answer_bytes: int
    """Bytes of what is large in its answer; 0 where nothing is known."""


class JobObserver(Protocol):
    """Is told of every job: metrics are one, traces another. On the event loop, so it must be quick."""

    def on_end(self, job: AnyJob, code: str) -> None:
        """A job has ended, with the name of its status; `job.times` says what it has taken. Raises nothing."""
