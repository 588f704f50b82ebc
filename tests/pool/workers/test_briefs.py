"""A worker that knows a picture is sent its name; the picture itself only if the worker asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from featsvc.errors import ContentWanted, KilledWorkers
from featsvc.pool.contract.job import AnyJob, Brief
from featsvc.pool.contract.messages import RunBatch
from featsvc.pool.workers.handle import WorkerHandle
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import Journal, MakeEntry, MakeGate, StartPool
from tests.pool.entries import completed, scheduler_with
from tests.pool.fakes import FakeItem
from tests.pool.gates import Gate
from tests.pool.jobs import job, submit, submitted
from tests.pool.scheduling.test_affinity import given, two_workers

PICTURE = b"\x00" * 200_000


def click(does: str = "", about: str = "p", **fields: Any) -> AnyJob:
    """A question about a picture, with its brief."""
    item = FakeItem(PICTURE, does, named=about, **fields.pop("item", {}))
    brief = Brief(replace(item, value=b""), 0)
    return job(item=item, affinity=about, brief=brief, **{"nbytes": len(PICTURE), **fields})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the value of each item that went to a worker."""
    sizes: list[int] = []
    real = WorkerHandle.send

    def recorded(self: WorkerHandle, message: Any, large: bool = False) -> None:
        if isinstance(message, RunBatch):
            items: list[Any] = [each.item for each in message.items]
            asked = [len(item.value) for item in items if item.named]
            assert large == (sum(asked) > 0)
            sizes.extend(asked)
        real(self, message, large)

    monkeypatch.setattr(WorkerHandle, "send", recorded)
    return sizes


async def test_a_second_question_about_a_picture_goes_without_it(
    start_pool: StartPool, sent: list[int]
) -> None:
    pool = await start_pool()
    results = [await pool.run(click()) for _ in range(3)]
    assert [result.value for result in results] == [PICTURE] * 3
    assert sent == [len(PICTURE), 0, 0]


async def test_a_picture_that_the_worker_has_lost_is_sent_again_once(
    start_pool: StartPool, sent: list[int], journal: Journal
) -> None:
    pool = await start_pool()
    results = [await pool.run(click("not keep")) for _ in range(2)]
    assert [result.value for result in results] == [PICTURE] * 2
    assert sent == [len(PICTURE), 0, len(PICTURE)]
    assert [line for line in journal.lines() if line.startswith("run")] == ["run 200000 bytes"] * 2
    (worker,) = pool.status().workers
    assert (worker.items, worker.batches, worker.restarts) == (2, 2, 0)
    assert not pool.status().queued_count


async def test_several_that_ask_at_once_are_all_answered(start_pool: StartPool, sent: list[int]) -> None:
    pool = await start_pool()
    await pool.run(click("not keep"))
    results = await asyncio.gather(*submit(pool, *(click("not keep") for _ in range(8))))
    assert [result.value for result in results] == [PICTURE] * 8
    assert sent.count(0) <= 8


async def test_who_asks_for_what_was_sent_whole_is_refused(start_pool: StartPool, sent: list[int]) -> None:
    pool = await start_pool()
    nothing = click(nbytes=0)
    nothing.item = nothing.brief.item  # type: ignore[union-attr]
    with pytest.raises(ContentWanted):
        await pool.run(nothing)
    assert sent == [0, 0]


async def asked_again(
    pool: WorkerPool, make_gate: MakeGate, urgent_does: str = ""
) -> tuple[asyncio.Task[Any], asyncio.Task[Any], Gate]:
    """A question whose picture a worker has asked for and not got yet, and what runs first, which waits at the gate."""
    await pool.run(click("not keep"))
    asking, running = make_gate(), make_gate()
    asked = submit(pool, click(item={"gate": str(asking), "stage": "prepare"}))
    await asking.reached()
    urgent = await submitted(
        pool, job(item=FakeItem("urgent", urgent_does, gate=str(running)), deadline_s=20)
    )
    asking.let_through(2)  # once more when it goes whole
    await running.reached()
    assert pool.status().queued_count == 1
    return asked[0], urgent[0], running


async def test_a_worker_that_dies_before_it_gets_what_it_asked_for_is_no_mark_against_the_question(
    start_pool: StartPool, make_gate: MakeGate, sent: list[int]
) -> None:
    pool = await start_pool(slots=1)
    asked, urgent, gate = await asked_again(pool, make_gate, "die")
    gate.let_through(2)
    with pytest.raises(KilledWorkers):  # of two deaths, which are as many as a question may see
        await urgent
    assert (await asked).value == PICTURE
    assert sent == [len(PICTURE), 0, len(PICTURE)]


async def test_what_a_worker_has_asked_for_waits_for_it_no_longer_than_it_should(
    start_pool: StartPool, make_gate: MakeGate, sent: list[int]
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"), slots=1, affinity_s=1.0)
    asking, running = make_gate(), make_gate()
    home = (await pool.run(click("not keep"))).pid
    assert (await pool.run(click(about="other"))).pid == home
    (asked,) = submit(pool, click(item={"gate": str(asking), "stage": "prepare"}))
    await asking.reached()
    (urgent,) = await submitted(pool, job(item=FakeItem(gate=str(running)), affinity="other", deadline_s=20))
    asking.let_through(2)
    await running.reached()
    assert (await asked).pid != home
    running.let_through()
    assert (await urgent).pid == home
    assert sent == [len(PICTURE), len(PICTURE), 0, len(PICTURE)]


async def test_a_worker_gets_nothing_that_it_asked_for_when_the_caller_has_gone(
    start_pool: StartPool, make_gate: MakeGate, sent: list[int]
) -> None:
    pool = await start_pool(slots=1)
    asked, urgent, gate = await asked_again(pool, make_gate)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert pool.status().queued_count == 0
    gate.let_through()
    assert (await urgent).value == "urgent"
    assert (await pool.run(job("after"))).value == "after"
    assert sent == [len(PICTURE), 0]


async def test_a_worker_that_asks_when_the_caller_has_gone_gets_nothing(
    start_pool: StartPool, make_gate: MakeGate, sent: list[int]
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    await pool.run(click("not keep"))
    (asked,) = submit(pool, click(item={"gate": str(gate), "stage": "prepare"}))
    await gate.reached()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.let_through()
    assert (await pool.run(job("after"))).value == "after"
    assert sent == [len(PICTURE), 0]
    assert not pool._scheduler._entries


async def test_a_picture_is_known_once_the_worker_has_answered_about_it(make_entry: MakeEntry) -> None:
    first, second = two_workers()
    scheduler = scheduler_with(make_entry(affinity="p"))
    batch = given(scheduler, first, second)
    scheduler.admit(make_entry(affinity="p"), workers=2)
    beside = given(scheduler, first, second)
    assert not batch.is_known
    assert not beside.is_known
    completed(scheduler, batch)
    scheduler.admit(make_entry(affinity="p"), workers=2)
    known = given(scheduler, first, second)
    assert known.is_known
    scheduler.lost(first.id)
    scheduler.admit(make_entry(affinity="p"), workers=2)
    assert not given(scheduler, second, first).is_known
