"""How many workers there are, by what waits: more at once, fewer one by one.

A worker is needed that has work in flight. Beside those as many are needed as there are times `backlog_s` of waiting
work, in seconds of a worker, as predicted. Too many there are only if none of the last `idle_s` needed as many.

Who cannot start (FAILED) is not counted, so another starts where there is room, perhaps on another machine; the one
that is too many then is the first to end. Where there is no room, one that is tried no more ends once others have been
lacking for `idle_s`, and another starts. Where none can start, more could not either.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from contextlib import suppress
from typing import Protocol

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.scheduling.scheduler import Scheduler
from featsvc.pool.workers.handle import WorkerHandle
from featsvc.pool.workers.members import Members

log = logging.getLogger("featsvc.pool.workers.elastic")

LOOK_S = 0.5
MOST_PRELOADED = 3  # of the models that are waited for: each further one delays the first answer
REMOVAL_GRACE_S = 5.0
"""For what came to a worker in the moment in which it was chosen to end."""


class WorkerSet(Protocol):
    """Who starts and ends workers."""

    def add_worker(self, device: str, preload: tuple[str, ...] = ()) -> int:
        """One more, with these models; its number."""
        ...

    async def remove_worker(self, number: int, grace_s: float) -> None:
        """One less, once it has completed what it has."""


class Elastic:
    """Follows the work; make it in a running loop. Where the number of workers is fixed it does nothing."""

    def __init__(
        self, settings: PoolSettings, workers: WorkerSet, scheduler: Scheduler, members: Members
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._scheduler = scheduler
        self._members = members
        self._least = len(settings.worker_devices)
        self._since: float | None = None
        """When it was first seen that one may end; None while none may."""
        self._leaving: dict[int, asyncio.Task[None]] = {}
        is_fixed = settings.most_workers <= self._least
        self._task = None if is_fixed else asyncio.create_task(self._follow())

    async def end(self) -> None:
        """Follow no longer."""
        tasks = [*self._leaving.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look(time.monotonic())
            except Exception:  # a defect: the workers that there are go on
                log.exception("the number of workers cannot follow the work")

    def look(self, now: float) -> None:
        """Start as many workers as are lacking, or end one that has not been of use for long enough."""
        staying = [each for each in self._members if each.id not in self._leaving]
        needed = self._needed(staying)
        able = sum(each.state is not WorkerState.FAILED for each in staying)
        lacking = min(needed - able, self._settings.most_workers - len(staying))
        if lacking > 0:
            self._since = None
            if able:
                self._grow(lacking)
            return
        if needed > able:
            # Not at once: where no place is any better each look would start one in vain.
            spare = [each for each in staying if able and each.is_given_up]
        else:
            spare = staying if needed < len(staying) else []
        if not spare:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._settings.idle_s:
            self._since = None
            self._shrink(spare, staying)

    def _needed(self, staying: list[WorkerHandle]) -> int:
        busy = sum(bool(self._scheduler.in_flight(each.id).batches) for each in staying)
        waiting_s = sum(flow.cost_s for flow in self._scheduler.queue.flows.waiting)
        needed = busy + int(waiting_s / self._settings.backlog_s)
        return min(max(needed, self._least), self._settings.most_workers)

    def _grow(self, count: int) -> None:
        """Start so many, each with the models that are waited for most, so that nobody waits for it once more."""
        most = min(MOST_PRELOADED, self._settings.max_models or MOST_PRELOADED)
        # What is loaded last is the last to go again where they have no room together.
        models = tuple(reversed(self._awaited_models()[:most]))
        numbers = [self._workers.add_worker(self._settings.devices[0], models) for _ in range(count)]
        log.info("workers start for what waits", extra={"workers": numbers, "models": models})

    def _awaited_models(self) -> list[str]:
        """Those that something waits for, the most waited for first."""
        costs = defaultdict[str, float](float)
        for flow in self._scheduler.queue.flows.waiting:
            for entry in flow.entries:
                for model in set(entry.job.models):
                    costs[model] += entry.cost_s
        return sorted(costs, key=costs.__getitem__, reverse=True)

    def _shrink(self, spare: list[WorkerHandle], staying: list[WorkerHandle]) -> None:
        """End the worker of the spare ones that is missed least, if there is one that may go."""
        free = [each for each in spare if self._may_go(each, staying)]
        if not free:
            return
        chosen = min(free, key=self._worth)
        log.info("a worker ends that was not needed", extra={"worker": chosen.id})
        task = asyncio.create_task(self._remove(chosen.id))
        self._leaving[chosen.id] = task
        task.add_done_callback(lambda _: self._leaving.pop(chosen.id))

    async def _remove(self, number: int) -> None:
        with suppress(KeyError):  # it has been removed by somebody else
            await self._workers.remove_worker(number, REMOVAL_GRACE_S)

    def _may_go(self, worker: WorkerHandle, staying: list[WorkerHandle]) -> bool:
        """Whether nobody loses what he waits for: work in flight, or a model that no other worker has or loads."""
        state = self._scheduler.in_flight(worker.id)
        if state.batches or worker.is_loading:
            return False
        awaited = self._awaited_models()
        if awaited and worker.state not in (WorkerState.READY, WorkerState.FAILED):
            return False
        others = [self._scheduler.in_flight(each.id) for each in staying if each is not worker]
        return all(
            any(other.has_model(model) for other in others) for model in awaited if state.has_model(model)
        )

    def _worth(self, worker: WorkerHandle) -> tuple[bool, bool, int, int]:
        """How much is lost with it: first goes who cannot start, then who has not yet, then who knows least."""
        state = self._scheduler.in_flight(worker.id)
        is_able = worker.state is not WorkerState.FAILED
        return is_able, worker.state is WorkerState.READY, len(state.affinities), -worker.id
