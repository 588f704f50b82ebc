"""Callers that leave, and deadlines that pass."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from featsvc.errors import DeadlineExceeded
from tests.pool.conftest import StartPool
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit, submitted


async def test_a_cancelled_job_never_reaches_a_worker(start_pool: StartPool, make_gate, journal: Path) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    tasks = await submitted(pool, *(job(f"job{number}") for number in range(3)))
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert pool.status().queued_count == 2
    gate.let_through()
    await asyncio.gather(*held, tasks[0], tasks[2])
    assert "job1" not in journal.read_text()


async def test_a_job_cancelled_at_the_worker_before_its_turn_never_runs(
    start_pool: StartPool, make_gate, journal: Path
) -> None:
    pool, computing, preparing = await start_pool(), make_gate(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(computing))))
    await computing.reached()
    item = FakeItem("cancelled", gate=str(preparing), stage="prepare")
    cancelled = submit(pool, job(item=item))[0]
    await preparing.reached()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await received(pool)
    preparing.let_through()
    computing.let_through()
    await asyncio.gather(*held)
    assert (await pool.run(job("after"))).value == "after"
    lines = journal.read_text().splitlines()
    assert "prepare cancelled" in lines
    assert "run cancelled" not in lines


async def test_a_job_cancelled_while_it_runs_frees_its_slot_when_it_ends(start_pool: StartPool, make_gate) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    running, mate = submit(pool, job(item=FakeItem(gate=str(gate))), job("mate"))
    await gate.reached()
    running.cancel()
    gate.let_through()
    assert (await mate).value == "mate"
    assert pool.status().queued_count == 0
    assert not pool._aboard


async def test_a_job_that_expires_in_the_queue_is_answered_then_and_never_runs(
    start_pool: StartPool, make_gate, journal: Path
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    with pytest.raises(DeadlineExceeded):
        await pool.run(job("expired", deadline_s=0.05))
    assert pool.status().queued_count == 0
    gate.let_through()
    await asyncio.gather(*held)
    await pool.run(job("after"))
    assert "expired" not in journal.read_text()


async def test_a_job_that_expires_while_it_runs_is_answered_then(start_pool: StartPool, make_gate) -> None:
    pool, gate = await start_pool(), make_gate()
    begin = time.monotonic()
    late = submit(pool, job(item=FakeItem(gate=str(gate)), deadline_s=0.5))
    await gate.reached()
    with pytest.raises(DeadlineExceeded):
        await late[0]
    assert 0.4 < time.monotonic() - begin < 5
    gate.let_through()
    assert (await pool.run(job("after"))).value == "after"


async def test_a_job_that_comes_too_late_is_refused(start_pool: StartPool, journal: Path) -> None:
    pool = await start_pool()
    with pytest.raises(DeadlineExceeded, match="when the request arrived"):
        await pool.run(job("late", deadline_s=-1))
    assert "late" not in journal.read_text()


async def test_an_urgent_job_overtakes_one_that_has_time(start_pool: StartPool, make_gate, journal: Path) -> None:
    pool, gate = await start_pool(slots=1, max_batch_items=1), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    tasks = await submitted(pool, job("patient"), job("urgent", deadline_s=60))
    gate.let_through()
    await asyncio.gather(*held, *tasks)
    runs = [line for line in journal.read_text().splitlines() if line.startswith("run")]
    assert runs == ["run held", "run urgent", "run patient"]
