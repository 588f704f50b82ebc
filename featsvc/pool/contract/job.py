"""What the gateway asks of the pool."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

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
    question: Hashable = None  # equal for items that are the same; None where that cannot be told
    affinity: str = ""  # what it is about, such as a picture: a worker that knows this already is faster
    brief: Brief | None = None  # for a worker that knows it; who does not raises ContentWanted


AnyJob: TypeAlias = Job[Any]
"""Where it does not matter what comes of it."""
