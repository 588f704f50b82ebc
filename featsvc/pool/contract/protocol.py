"""The one small interface between the gateway and whatever runs the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from featsvc.errors import FeatsvcError
from featsvc.pool.contract.job import AnyJob, Job, JobEstimate, R
from featsvc.pool.contract.status import PoolStatus

if TYPE_CHECKING:
    # Checks of settings take a tenth of a second to import.
    from featsvc.work.caller import Caller


class Pool(Protocol):
    """Runs jobs; `featsvc.pool.workers.pool` has the one that there is."""

    async def run(self, job: Job[R]) -> R:
        """The result of the job. Cancelling the awaiting task cancels the job; raises FeatsvcError."""
        ...

    async def estimate(self, job: AnyJob) -> JobEstimate:
        """What the job would cost, and how long it would wait; raises what `run` does but for want of room."""
        ...

    def check_room(self, caller: Caller, nbytes: int, announced: int) -> None:
        """Raises Overloaded where a job would find no place now, behind others that its caller is about to send.

        Those are `announced`, and all together have so many bytes.
        """
        ...

    def batch_bytes(self) -> int:
        """Bytes that the next batches of all live workers may have together; of one where none lives."""
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

    async def alive_change(self, last: int = -1) -> int:
        """The number of live workers, as soon as it is another than `last`."""
        ...

    async def news(self, last: int = -1) -> int:
        """A number that is another than `last`, as soon as workers have died or come, or models failed to load."""
        ...

    async def cannot_work(self) -> FeatsvcError:
        """Why no worker will ever start here, when that is so; until then it waits."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, and finish what was admitted, for at most `grace_s`."""
        ...
