"""The number of workers follows the work, by a clock of the test and with workers that are no processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from featsvc.pool.contract.messages import RunBatch
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.scheduling.costs import FIRST_S
from featsvc.pool.workers.heartbeat import SILENT_LOOKS
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import all_alive
from tests.pool.fake_workers import FakeSpawn
from tests.pool.jobs import job, submitted

IDLE_S = 60.0
SETTINGS = PoolSettings(
    devices=("one",),
    slots=1,
    max_batch_items=1,
    most_workers=4,
    backlog_s=2 * FIRST_S,
    idle_s=IDLE_S,
    affinity_s=0.0,
    preload=("m",),
)


class Followed:
    """A pool whose workers follow the work when the test looks."""

    def __init__(self, pool: WorkerPool, spawn: FakeSpawn) -> None:
        self.pool = pool
        self.spawn = spawn
        self.now = 0.0

    @property
    def numbers(self) -> list[int]:
        """The workers that there are, or will be."""
        leaving = self.pool._elastic._leaving
        return [each.id for each in self.pool.status().workers if each.id not in leaving]

    async def look(self, after_s: float = 0.0) -> list[int]:
        """What there is after another look, so much later."""
        self.now += after_s
        self.pool._elastic.look(self.now)
        numbers = self.numbers
        await asyncio.gather(*self.pool._elastic._leaving.values())
        await all_alive(self.pool)
        return numbers

    async def look_while_some_fail(self, after_s: float = 0.0) -> list[int]:
        """The same where those that `spawn` misses never take work."""
        self.now += after_s
        self.pool._elastic.look(self.now)
        numbers = self.numbers
        await asyncio.gather(*self.pool._elastic._leaving.values())
        await steps_of_starts()
        return numbers

    async def answer_all(self, tasks: list[asyncio.Task[Any]]) -> list[Any]:
        """Have the workers answer what they get, until all these callers have answers."""

        async def answer(number: int) -> None:
            while True:
                await self.spawn.started[number].answer(number)

        answering = [asyncio.create_task(answer(number)) for number in self.numbers]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for each in answering:
                each.cancel()


async def steps_of_starts() -> None:
    """Let the loop do all that a start of such workers takes."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def followed() -> AsyncIterator[Followed]:
    spawn = FakeSpawn()
    async with WorkerPool(SETTINGS, spawn) as pool:
        await pool._elastic.end()  # the test looks, and nothing else does
        await all_alive(pool)
        yield Followed(pool, spawn)


async def test_one_becomes_four_and_one_again_by_load_alone(followed: Followed) -> None:
    tasks = await submitted(followed.pool, *(job(value) for value in range(20)))
    assert len(await followed.look()) == 4, "at once, for 19 wait"
    assert len(await followed.look()) == 4, "which is the most"
    answers = await followed.answer_all(tasks)
    assert len(answers) == 20
    assert set(answers) == {0, 1, 2, 3}, "all of them worked"
    assert len(await followed.look()) == 4, "who idles is not ended at once"
    for left in (3, 2, 1):
        assert len(await followed.look(IDLE_S - 1)) == left + 1
        assert len(await followed.look(1)) == left, "one by one"
        await followed.look()
    assert len(await followed.look(10 * IDLE_S)) == 1, "which is the least"


async def test_what_waits_counts_by_its_seconds_and_not_by_its_number(followed: Followed) -> None:
    await submitted(followed.pool, job("at work"), job("waits"))
    assert len(await followed.look()) == 1, "less waits than a worker is started for"
    await submitted(followed.pool, job("waits too"))
    assert len(await followed.look()) == 2


async def test_one_that_was_needed_meanwhile_does_not_end(followed: Followed) -> None:
    tasks = await submitted(followed.pool, *(job(value) for value in range(4)))
    assert len(await followed.look()) == 2
    await followed.answer_all(tasks)
    await followed.look()
    busy = await submitted(followed.pool, job("a"), job("b"))
    await followed.look(IDLE_S / 2)
    await followed.answer_all(busy)
    await followed.look()
    assert len(await followed.look(IDLE_S - 1)) == 2, "the time began anew"
    assert len(await followed.look(1)) == 1


async def test_a_new_worker_preloads_what_is_waited_for(followed: Followed) -> None:
    await submitted(
        followed.pool, job("at work"), *(job(value, model="wanted") for value in range(3)), job(3)
    )
    await followed.look()
    boots = [worker.boot for worker in followed.spawn.started.values()]
    assert [boot.preload for boot in boots if boot] == [("m",), ("m", "wanted"), ("m", "wanted")]


async def test_it_preloads_what_has_room_the_most_awaited_last(followed: Followed) -> None:
    await submitted(followed.pool, job("at work"))
    for count, model in enumerate("abcdm", 1):
        await submitted(followed.pool, *(job(value, model=model) for value in range(count)))
    await followed.look()
    boot = followed.spawn.started[1].boot
    assert boot is not None
    assert boot.preload == ("c", "d", "m")


async def test_no_worker_ends_that_has_work_or_loads_a_model(followed: Followed) -> None:
    tasks = await submitted(followed.pool, *(job(value) for value in range(6)))
    assert len(await followed.look()) == 3
    kept = followed.spawn.started[2]
    # The last one keeps its item, the others answer theirs.
    assert isinstance(await kept.batches.get(), RunBatch)
    await followed.answer_all([task for task in tasks if task is not tasks[2]])
    loading = asyncio.create_task(followed.pool._workers[1].load("new"))
    await asyncio.sleep(0)  # it takes its first step, up to the worker's answer
    await followed.look()
    assert await followed.look(IDLE_S) == [1, 2], "the first has neither"
    await followed.look()
    assert await followed.look(IDLE_S) == [1, 2]
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading
    await followed.look()
    assert await followed.look(IDLE_S) == [2]


async def test_the_only_one_that_has_an_awaited_model_does_not_end(followed: Followed) -> None:
    pool = followed.pool
    tasks = await submitted(pool, *(job(value) for value in range(4)))
    assert await followed.look() == [0, 1]
    await followed.answer_all(tasks)
    pool._scheduler.set_models(1, frozenset({"m", "rare"}))
    for each in pool._workers:
        each._heart._missed = SILENT_LOOKS  # so that what comes now waits
    (waiting,) = await submitted(pool, job("waits", model="rare"))
    await followed.look()
    assert await followed.look(IDLE_S) == [1]
    waiting.cancel()


async def test_who_knows_pictures_stays_longer(followed: Followed) -> None:
    tasks = await submitted(followed.pool, *(job(value) for value in range(4)))
    assert await followed.look() == [0, 1]
    await followed.answer_all(tasks)
    followed.pool._scheduler.in_flight(1).affinities["sam2", "m", "picture"] = True
    await followed.look()
    assert await followed.look(IDLE_S) == [1]


async def test_who_cannot_start_takes_no_place_and_ends_first(followed: Followed) -> None:
    followed.spawn.missing = {1}
    tasks = await submitted(followed.pool, *(job(value) for value in range(3)))
    assert await followed.look_while_some_fail() == [0, 1]
    assert await followed.look_while_some_fail() == [0, 1, 2], "another in its place"
    assert await followed.look_while_some_fail(IDLE_S - 1) == [0, 1, 2]
    assert await followed.look_while_some_fail(IDLE_S) == [0, 2], "though others work and something waits"
    await followed.answer_all(tasks)


async def test_no_more_start_than_there_may_be_and_none_where_none_can(followed: Followed) -> None:
    followed.spawn.missing = range(1, 100)
    await submitted(followed.pool, *(job(value) for value in range(4)))
    for _ in range(5):
        numbers = await followed.look_while_some_fail()
    assert numbers == [0, 1, 2, 3], "which is the most"
    async with WorkerPool(SETTINGS, FakeSpawn(missing={"one"})) as pool:
        await pool._elastic.end()
        await steps_of_starts()
        assert pool.status().workers[0].state is WorkerState.FAILED
        pool._elastic.look(0.0)
        assert len(pool.status().workers) == 1


async def test_who_is_tried_no_more_makes_room_while_others_are_lacking(followed: Followed) -> None:
    followed.spawn.missing = {1, 2, 3}
    await submitted(followed.pool, *(job(value) for value in range(8)))
    for _ in range(3):
        assert await followed.look_while_some_fail() == [0, 1, 2, 3]
    assert await followed.look_while_some_fail(IDLE_S - 1) == [0, 1, 2, 3]
    assert await followed.look_while_some_fail(1) == [0, 1, 2], "the load is the same"
    assert await followed.look_while_some_fail() == [0, 1, 2, 4]
    followed.spawn.missing = ()
    followed.pool._workers[1]._set_timer(IDLE_S, lambda: None)
    await followed.look_while_some_fail()
    assert await followed.look_while_some_fail(IDLE_S) == [0, 1, 4], "who is tried again keeps its place"


@pytest.mark.parametrize("most", [0, 1])
async def test_a_fixed_number_is_not_followed(most: int) -> None:
    async with WorkerPool(replace(SETTINGS, most_workers=most), FakeSpawn()) as pool:
        assert pool._elastic._task is None


async def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.pool.workers.elastic.LOOK_S", 0.001)
    async with WorkerPool(SETTINGS, FakeSpawn()) as pool:
        await submitted(pool, *(job(value) for value in range(9)))
        alive = -1
        while alive < 4:
            alive = await pool.alive_change(alive)
