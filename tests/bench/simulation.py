"""How many workers one scheduler feeds: `python -m tests.bench.simulation [--workers N …] [--only NAME …]`.

The real scheduler before simulated workers, by a clock of their own: so many requests wait all the while, and for each
that is answered another comes. What a request takes of a worker is made up; what the scheduler takes of this processor
is measured: the admission of a request, the choice of its batch, its completion.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import pytest

from featsvc.errors import Overloaded
from featsvc.pool.scheduling.in_flight import Batch
from featsvc.pool.scheduling.queue import QueueEntry
from featsvc.pool.scheduling.scheduler import Scheduler
from tests.pool.fakes import FakeParams
from tests.pool.jobs import fake_operation
from tests.pool.scheduling.simulation import Simulation, caller

WORKERS = (1, 4, 16, 64, 128, 256, 512)
WAITING = 1024
BATCH = 16
PARAMS = FakeParams()


@dataclass(frozen=True)
class Kind:
    """What is asked, and what that takes of a worker: each batch, and each request of it."""

    what: str
    callers: int = 1
    models: int = 1
    pictures: int = 0
    pass_s: float = 0.010
    item_s: float = 0.002


KINDS = {
    "one caller": Kind("one caller's texts"),
    "callers": Kind("texts of 64 callers", callers=64),
    "many callers": Kind("texts of 1,024 callers", callers=1024),
    "models": Kind("16 callers ask 8 models", callers=16, models=8),
    "clicks": Kind("16 callers click on 4,096 pictures", callers=16, pictures=4096, pass_s=0.0, item_s=0.030),
}


@dataclass(frozen=True)
class Measured:
    """What a run came to: by the workers' clock a rate, the 99th percentile of the time from question to answer and the
    part of a batch that is filled; by the processor's the scheduler's time for a request."""

    per_s: float
    p99_s: float
    fill: float
    cost_us: float


class TimedScheduler(Scheduler):
    """Adds up the processor's time that it takes."""

    taken_ns = 0

    def admit(self, entry: QueueEntry, workers: int) -> list[tuple[QueueEntry, Overloaded]]:
        began = time.thread_time_ns()
        leaving = super().admit(entry, workers)
        self.taken_ns += time.thread_time_ns() - began
        return leaving

    def dispatch(self, alive: Collection[int]) -> Batch | None:
        began = time.thread_time_ns()
        batch = super().dispatch(alive)
        self.taken_ns += time.thread_time_ns() - began
        return batch

    def completed(self, entry: QueueEntry, cost_s: float | None = None, has_result: bool = True) -> bool:
        began = time.thread_time_ns()
        is_last = super().completed(entry, cost_s, has_result)
        self.taken_ns += time.thread_time_ns() - began
        return is_last


class Load(Simulation):
    """Asks anew for each answer, so that as many wait as before."""

    scheduler: TimedScheduler
    makes = TimedScheduler

    def __init__(self, patch: pytest.MonkeyPatch, kind: Kind, workers: int, waiting: int) -> None:
        super().__init__(patch, workers, max_queued=1_000_000, max_batch_items=BATCH)
        self._kind, self._waiting = kind, waiting
        self.pass_s = kind.pass_s
        self._random = random.Random(0)
        self._callers = [caller(f"caller-{number}") for number in range(kind.callers)]
        self._operation = fake_operation("fake.run")
        self.latencies_s: list[float] = []
        self.batches: Counter[int] = Counter()
        models = frozenset(f"model-{number}" for number in range(kind.models))
        for worker in range(workers):
            self.scheduler.set_models(worker, models)
        self._models = sorted(models)

    def ask_one(self) -> None:
        """A request, whose answer brings the next one."""
        kind, choose, came_at = self._kind, self._random, self.now

        def done() -> None:
            self.latencies_s.append(self.now - came_at)
            self.refill()

        self.ask(
            choose.choice(self._callers),
            kind.item_s,
            done,
            operation=self._operation,
            model=choose.choice(self._models),
            params=PARAMS,
            affinity=str(choose.randrange(kind.pictures)) if kind.pictures else "",
        )

    def refill(self) -> None:
        """Ask until as many wait as should."""
        while self.scheduler.queue.count < self._waiting:
            self.ask_one()

    def begin(self, batch: Batch) -> None:
        """Also count how full it is."""
        self.batches[batch.size] += 1
        super().begin(batch)


def measured(kind: Kind, workers: int, waiting: int, requests: int) -> Measured:
    """A run of so many requests, after as many as fill all places."""

    async def run() -> Measured:
        with pytest.MonkeyPatch.context() as patch:
            load = Load(patch, kind, workers, waiting)
            load.refill()
            warm_up, step_s = len(load.scheduler._entries) + waiting, 0.01
            while len(load.latencies_s) < warm_up:
                load.run(step_s)
            load.latencies_s.clear(), load.batches.clear()
            load.scheduler.taken_ns, began = 0, load.now
            while len(load.latencies_s) < requests:
                load.run(step_s)
            count = len(load.latencies_s)
            p99_s = statistics.quantiles(load.latencies_s, n=100)[-1]
            fill = (
                load.batches.total()
                and sum(n * size for size, n in load.batches.items()) / load.batches.total() / BATCH
            )
            return Measured(count / (load.now - began), p99_s, fill, load.scheduler.taken_ns / count / 1000)

    return asyncio.run(run())


def main(argv: list[str]) -> None:
    """Prints a line for each number of workers."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.simulation")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--waiting", type=int, default=WAITING)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args(argv)
    print(f"{args.waiting} wait; batches of at most {BATCH}")
    print("| what | workers | answers /s | p99 s | batch fill | scheduler us a request |")
    print("|---|---|---|---|---|---|")
    for name in args.only:
        for workers in args.workers:
            got = measured(KINDS[name], workers, args.waiting, args.requests)
            figures = f"{got.per_s:,.0f} | {got.p99_s:.2f} | {got.fill:.2f} | {got.cost_us:.0f}"
            print(f"| {KINDS[name].what} | {workers} | {figures} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
