"""The one small interface between the gateway and whatever runs the models."""

from __future__ import annotations

from typing import Any, Protocol

from featsvc.pool.job import Job
from featsvc.pool.status import PoolStatus


class Pool(Protocol):
    """Runs jobs; `local` is worker processes of this machine."""

    async def run(self, job: Job) -> Any:  # Any: which result class it is follows from the operation
        """The result of the job. Cancelling the awaiting task cancels the job; raises FeatsvcError."""
        ...

    async def load(self, model: str, worker: int | None = None) -> None:
        """Load a model in one worker, or in all live ones."""
        ...

    async def unload(self, model: str) -> int:
        """Drop a model everywhere once no batch uses it; the number of workers that had it."""
        ...

    def status(self) -> PoolStatus:
        """How the workers and the queue are now."""
        ...

    async def alive_change(self, known: int = -1) -> int:
        """The number of live workers, as soon as it is another than `known`."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, and finish what was admitted, for at most `grace_s`."""
        ...
