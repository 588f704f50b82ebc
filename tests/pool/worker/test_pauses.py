"""A long pass pauses for short work of others, which never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from featsvc.errors import TookTooLong
from featsvc.pool.contract.job import AnyJob
from featsvc.pool.scheduling.scheduler import Scheduler
from featsvc.pool.worker import pauses
from featsvc.pool.worker.pauses import FIRST_RATE, MOST_PASSED, Clock, Rates, WorkQueue
from tests.pool.conftest import Journal, MakeGate, PassTime, StartPool
from tests.pool.fakes import FakeItem, FakeParams
from tests.pool.jobs import job, submit, submitted

LONG_FLOP = 1e13


def long(end: Path, number: int = 0, gate: str = "") -> AnyJob:
    """A job that computes until its file is there; each in a batch of its own."""
    item = FakeItem(str(end), "compute until it is there", gate=gate, flop=LONG_FLOP)
    return job(item=item, params=FakeParams(most=100 + number))


@pytest_asyncio.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the pool hears that a long pass goes on, or that another computes than it seemed."""
    event, real = asyncio.Event(), Scheduler.note_progress

    def note_progress(*arguments: Any) -> None:
        real(*arguments)
        event.set()

    monkeypatch.setattr(Scheduler, "note_progress", note_progress)
    return event


async def test_short_work_is_answered_while_a_long_pass_computes(
    start_pool: StartPool, tmp_path: Path, journal: Journal
) -> None:
    pool, end = await start_pool(), tmp_path / "end"
    running = submit(pool, long(end))[0]
    for number in range(3):
        assert (await asyncio.wait_for(pool.run(job(number)), 60)).value == number
    assert not running.done()
    end.touch()
    assert (await running).value == str(end)


async def test_long_work_waits_for_long_work_and_holds_no_place_for_short_one(
    start_pool: StartPool, make_gate: MakeGate, tmp_path: Path, journal: Journal
) -> None:
    pool, gate = await start_pool(slots=2), make_gate()
    ends = [tmp_path / f"end{number}" for number in range(4)]
    running = submit(pool, long(ends[0], gate=str(gate)))
    await gate.reached()
    running += await submitted(pool, *(long(end, number) for number, end in enumerate(ends) if number))
    gate.let_through()
    assert (await asyncio.wait_for(pool.run(job("short")), 60)).value == "short"
    assert [line for line in journal.lines() if line.startswith("run")] == [f"run {ends[0]}", "run short"]
    for end in ends:
        end.touch()
    await asyncio.gather(*running)


async def test_work_that_needs_the_memory_of_the_pass_that_pauses_is_answered_after_it(
    start_pool: StartPool, tmp_path: Path, journal: Journal
) -> None:
    pool, end = await start_pool(), tmp_path / "end"
    await pool.run(job("first"))  # the model is there, so that what comes first is first
    running = submit(pool, long(end))[0]
    greedy = submit(
        pool, job(item=FakeItem(str(end), "need memory until it is there"), params=FakeParams(7))
    )[0]
    assert (await asyncio.wait_for(pool.run(job("short")), 60)).value == "short"
    assert not greedy.done()
    end.touch()
    await running
    assert (await greedy).value == str(end)


async def test_a_long_pass_that_goes_on_has_not_hung(
    start_pool: StartPool, tmp_path: Path, pass_time: PassTime, told: asyncio.Event
) -> None:
    pool, end = await start_pool(), tmp_path / "end"
    pid = pool.status().workers[0].pid
    running = submit(pool, long(end))[0]
    for _ in range(3):
        await told.wait()
        told.clear()
        pass_time(pool, 0)
        pass_time(pool, 299)
    end.touch()
    assert (await running).pid == pid


async def test_a_long_pass_is_not_refused_for_short_work_that_hangs_in_its_pause(
    start_pool: StartPool, make_gate: MakeGate, tmp_path: Path, pass_time: PassTime, told: asyncio.Event
) -> None:
    pool, gate, hanging, end = await start_pool(), make_gate(), make_gate(), tmp_path / "end"
    passing = submit(pool, long(end, gate=str(gate)))[0]
    await gate.reached()
    hung = (await submitted(pool, job(item=FakeItem("hung", gate=str(hanging)))))[0]
    gate.let_through()
    await hanging.reached()
    while pool._scheduler.in_flight(0).told is None:
        told.clear()
        await told.wait()
    pass_time(pool, 0)
    pass_time(pool, 300)
    with pytest.raises(TookTooLong):
        await hung
    end.touch()
    gate.let_through()
    assert (await passing).value == str(end)
    assert pool.status().workers[0].restarts == 1, "it was known which of them hangs"


async def test_a_long_pass_whose_caller_left_ends_though_it_paused(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(slots=1)
    running = submit(pool, long(tmp_path / "never"))[0]
    assert (await asyncio.wait_for(pool.run(job("short")), 60)).value == "short"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await asyncio.wait_for(pool.run(long(tmp_path)), 60)).value == str(tmp_path)


def test_what_was_computed_says_how_long_more_of_it_takes() -> None:
    rates, text, mask = Rates(), ("text", ("m",)), ("mask", ("m",))
    assert rates.seconds(text, 1e12) == 1e12 * FIRST_RATE
    rates.learn(text, 1e12, 4.0)
    assert rates.seconds(text, 2e12) == 8.0
    # Of another operation nothing is known yet but how fast this machine is.
    assert rates.seconds(mask, 1e12) == 4.0
    rates.learn(text, 0.0, 100.0)
    assert rates.seconds(text, 1e12) == 4.0


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], float]:
    """Lets so many seconds pass for clocks of passes, which nothing else does; the time then."""
    now = 1000.0
    monkeypatch.setattr(pauses, "time", SimpleNamespace(monotonic=lambda: now))

    def let_pass(seconds: float) -> float:
        nonlocal now
        now += seconds
        return now

    return let_pass


def test_a_pass_earns_only_what_it_has_computed_itself(passes: Callable[[float], float]) -> None:
    clock = Clock()
    paused_at = passes(0.125)
    passes(10)
    clock.resume(paused_at)
    passes(0.0625)
    assert (clock.own_s, clock.earned_s) == (0.1875, 0.0625)
    assert not clock.is_to_tell(), "it is short until now"
    passes(0.0625)
    assert clock.is_to_tell()
    assert not clock.is_to_tell()


def test_what_the_passes_of_a_batch_have_computed_together_others_may_have(
    passes: Callable[[float], float],
) -> None:
    first = Clock()
    passes(0.125)
    second = Clock(first)
    now = passes(0.5)
    assert (second.own_s, second.batch_s, second.earned_s) == (0.5, 0.625, 0.625)
    second.resume(paused_at=now)
    assert Clock(second).earned_s == 0


def test_what_goes_first_is_taken_before_what_was_there() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for work, goes_first in (("a", False), ("b", True), ("c", False), ("d", True)):
        queue.put(work, goes_first)
    assert queue.now() == ("b", "d", "a", "c")
    assert queue.take_first(lambda work: work in "ad") == "d"
    assert [queue.take() for _ in range(3)] == ["b", "a", "c"]


def test_what_is_ready_is_not_passed_for_ever_by_what_goes_first() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for work in "abc":
        queue.put(work)

    def taken(how: Callable[[], str | None]) -> str:
        queue.put("guest", goes_first=True)
        return how() or ""

    guests = ["guest"] * MOST_PASSED
    assert [taken(queue.take) for _ in range(MOST_PASSED + 1)] == [*guests, "a"]
    assert [taken(lambda: queue.take_first(lambda work: True)) for _ in range(MOST_PASSED + 1)] == [
        *guests,
        "b",
    ]
    # What does not suit is in nobody's way, and comes next where all suits.
    assert [taken(lambda: queue.take_first(lambda work: work == "guest")) for _ in range(9)] == ["guest"] * 9
    assert taken(queue.take) == "c"
    assert {taken(queue.take) for _ in range(9)} == {"guest"}, "nothing else is there"


def test_what_is_put_back_is_the_first_of_those_that_it_was_of() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for work, goes_first in (("a", False), ("b", True)):
        queue.put(work, goes_first)
    queue.put_back("c")
    queue.put_back("d", goes_first=True)
    assert queue.now() == ("d", "b", "c", "a")


def test_a_work_queue_gives_the_oldest_that_suits() -> None:
    queue: WorkQueue[int] = WorkQueue()
    for number in (5, 2, 3):
        queue.put(number)
    assert queue.take_first(lambda number: number < 4) == 2
    assert queue.take_first(lambda number: number > 9) is None
    queue.put_back(1)
    assert queue.now() == (1, 5, 3)
    assert [queue.take() for _ in range(3)] == [1, 5, 3]
