"""What the gateway asks of the pool."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class Job:
    """One item for one model; jobs of equal operation, model and params may share a batch."""

    service: str
    operation: str
    model: str
    params: Hashable  # a frozen schema class; the pool only compares it
    item: object  # opaque here: only the engines look inside
    deadline: float | None = None  # by time.monotonic, which all processes of one machine share
    nbytes: int = 0  # what it holds in memory while it waits
    request_id: str = ""  # for the log
    affinity: str = ""  # what it is about, such as a picture: a worker that knows this already is faster
