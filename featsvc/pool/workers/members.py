"""The workers that a pool has at the moment, and who waits for news of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace

from featsvc.errors import FeatsvcError, InvalidArgument, Unavailable
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import FailedModel, WorkerState
from featsvc.pool.contract.worker import Spawn
from featsvc.pool.workers.handle import KILL_TIMEOUT_S, WorkerHandle
from featsvc.pool.workers.observer import Observer

NONE_STARTS = "no worker can start at the moment; the server's log says why"

log = logging.getLogger("featsvc.pool.workers.members")


class Members:
    """The set of workers, by their numbers. Make it in a running loop."""

    def __init__(self, settings: PoolSettings, spawn: Spawn, observer: Observer) -> None:
        self._settings = settings
        self._spawn = spawn
        self._observer = observer
        self._workers: dict[int, WorkerHandle] = {}
        self._numbers = itertools.count()
        self._hopeless: asyncio.Future[FeatsvcError] = asyncio.get_running_loop().create_future()
        self._was_alive = False
        self._refused: set[int] = set()  # workers that have said that they cannot work here
        self._failed: frozenset[FailedModel] = frozenset()
        self._version = 0
        self._changed = asyncio.Event()
        self.alive_count = 0

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(tuple(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, number: int) -> bool:
        return number in self._workers

    def __getitem__(self, number: int) -> WorkerHandle:
        return self._workers[number]

    @property
    def alive(self) -> list[WorkerHandle]:
        """Those that take work."""
        return [worker for worker in self if worker.alive]

    @property
    def taking(self) -> list[int]:
        """The numbers of those that may be given work now."""
        return [worker.id for worker in self.alive if not worker.is_silent]

    def check_hope(self) -> None:
        """Raises Unavailable where there is no worker that could ever take work."""
        if not self._workers:
            raise Unavailable("there is no worker at the moment; try again")
        if self.are_hopeless:
            raise Unavailable(NONE_STARTS)

    def loading(self, number: int | None) -> list[WorkerHandle]:
        """Those that are to load a model: the one of this number, or all that take work.

        Raises InvalidArgument where there is no such worker, Unavailable where none takes work.
        """
        if number is not None and number not in self:
            numbers = ", ".join(str(each.id) for each in self)
            raise InvalidArgument(f"worker: {number}, the workers are {numbers}")
        chosen = [each for each in self.alive if number in (None, each.id)]
        if not chosen:
            raise Unavailable("no worker is up to load the model; try again")
        return chosen

    @property
    def are_hopeless(self) -> bool:
        """Whether none of them can start."""
        workers = self._workers.values()
        return bool(workers) and all(worker.state is WorkerState.FAILED for worker in workers)

    def new_number(self) -> int:
        """The number of the next worker, which no other ever has."""
        return next(self._numbers)

    def start(self, number: int, device: str, preload: tuple[str, ...]) -> None:
        """Start a worker, without waiting for it; it loads the usual models and then these before it takes work."""
        usual = [model for model in self._settings.preload if model not in preload]
        settings = replace(self._settings, preload=(*usual, *preload))
        self._workers[number] = WorkerHandle(number, device, settings, self._spawn, self._observer)

    async def end(self, worker: WorkerHandle) -> None:
        """End a worker, and wait until nothing of it is left."""
        worker.close()
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await worker.closed.wait()
        except TimeoutError:
            log.error("worker %s cannot be killed", worker.id)

    def remove(self, number: int) -> bool:
        """Forget a worker; whether there was one."""
        self._refused.discard(number)
        return self._workers.pop(number, None) is not None

    def recount(self) -> None:
        """Tell who waits where workers have come or gone, or cannot load their models."""
        alive = self.alive
        failed = frozenset(model for worker in alive for model in worker.record.failed_models)
        if len(alive) != self.alive_count or failed != self._failed:
            self.alive_count, self._failed = len(alive), failed
            self._was_alive = self._was_alive or bool(alive)
            self._version += 1
            self._changed.set()
            self._changed = asyncio.Event()

    async def alive_change(self, last: int) -> int:
        """The number of live workers, as soon as it is another than `last`."""
        while self.alive_count == last:
            await self._changed.wait()
        return self.alive_count

    async def news(self, last: int) -> int:
        """A number that is another than `last`, as soon as workers have died or come, or models failed to load."""
        while self._version == last:
            await self._changed.wait()
        return self._version

    async def cannot_work(self) -> FeatsvcError:
        """Why no worker will ever start here, when that is so; until then it waits."""
        return await asyncio.shield(self._hopeless)

    def refuse(self, worker: WorkerHandle, error: FeatsvcError) -> None:
        """A worker says why it cannot work here; when all have, who waits for that is told.

        Not where the next process may run on another machine: then no refusal is the last word.
        """
        self._refused.add(worker.id)
        may_work = self._was_alive or self._settings.may_move
        if may_work or not self._refused >= self._workers.keys():
            log.error("worker cannot work here: %s", error.message, extra={"worker": worker.id})
        elif not self._hopeless.done():
            self._hopeless.set_result(error)
