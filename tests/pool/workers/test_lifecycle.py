"""Starting, draining, ending, and what must not be left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from featsvc.errors import KilledWorkers, Unavailable
from featsvc.pool.contract.messages import Boot, WorkerReady
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.shared_memory import MOST_KEPT
from featsvc.pool.workers.local import local_pool
from tests.pool.conftest import MakeGate, StartPool, all_alive, kill
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit, submitted

PARENT = """
import asyncio, sys
from featsvc.pool.workers.local import local_pool
from featsvc.pool.contract.settings import PoolSettings
from tests.pool.conftest import parent_of

async def main():
    async with local_pool(PoolSettings(engines="tests.pool.fakes:build", devices=("cpu", "cpu"))) as pool:
        alive = 0
        while alive < 2:
            alive = await pool.alive_change(alive)
        pids = [worker.pid for worker in pool.status().workers]
        print(*pids, parent_of(pool), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def test_jobs_that_come_before_the_workers_wait_for_them(settings: PoolSettings) -> None:
    async with local_pool(settings) as pool:
        assert pool.status().workers[0].state is WorkerState.STARTING, "entering does not wait for them"
        assert (await pool.run(job("early"))).value == "early"


async def test_nothing_is_left_behind(settings: PoolSettings, make_gate: MakeGate) -> None:
    gate = make_gate()
    before_files, before_threads = open_files(), threading.active_count()
    async with local_pool(settings) as pool:
        await all_alive(pool)
        pid = pool.status().workers[0].pid
        for _ in range(20):
            assert (await pool.run(job(1_000_000, "array"))).value.nbytes == 1_000_000
        results = asyncio.gather(*submit(pool, *(job(bytes(100_000)) for _ in range(20))))
        assert len(await results) == 20
        most = settings.reserved_descriptors + 1 + 2 * MOST_KEPT
        assert open_files() <= before_files + most, "the reserve, a socket, and memory that is kept both ways"
        poison = submit(pool, job(item=FakeItem(does="die")))
        assert isinstance((await asyncio.gather(*poison, return_exceptions=True))[0], KilledWorkers)
        await all_alive(pool)
        abandoned = submit(pool, job(item=FakeItem(gate=str(gate))))
        await gate.reached()
        assert (pool._callers, len(pool._scheduler._entries)) != (set(), 0)
    with pytest.raises(Unavailable, match="shut down"):
        await abandoned[0]
    await asyncio.sleep(0)
    assert not pool._callers
    assert pid is not None
    assert not is_running(pid)
    del results, poison, abandoned
    assert open_files() == before_files
    assert threading.active_count() == before_threads


async def test_answered_jobs_leave_no_trace_in_the_pool(start_pool: StartPool) -> None:
    pool = await start_pool()
    await asyncio.gather(*submit(pool, *(job(number, deadline_s=60) for number in range(50))))
    queue = pool._scheduler.queue
    assert not pool._callers
    assert not pool._scheduler._entries
    assert (queue.count, queue.nbytes) == (0, 0)
    assert (queue._about, queue.flows.waiting) == ({}, [])
    assert not pool._scheduler.in_flight(0).batches


async def test_draining_refuses_new_work_and_finishes_the_admitted(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    queued = await submitted(pool, job("queued"))
    drain = asyncio.create_task(pool.drain(30))
    await asyncio.sleep(0)
    for refused in (pool.run(job()), pool.load("m"), pool.unload("m")):
        with pytest.raises(Unavailable, match="shutting down"):
            await refused
    assert not drain.done()
    gate.let_through()
    await drain
    assert [(await task).value for task in (*held, *queued)] == ["held", "queued"]


async def test_draining_ends_with_its_grace(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    await pool.drain(0.05)
    with pytest.raises(Unavailable, match="shut down before"):
        await held[0]


async def test_status_tells_of_workers_and_queue(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(devices=("cpu",), slots=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    waiting = await submitted(pool, job(nbytes=70), job(nbytes=7))
    status = pool.status()
    assert (status.queued_count, status.queued_bytes, status.total_requests, status.alive) == (2, 77, 3, 1)
    worker = status.workers[0]
    assert (worker.id, worker.device, worker.state, worker.restarts) == (0, "cpu", WorkerState.BUSY, 0)
    gate.let_through()
    await asyncio.gather(*held, *waiting)
    worker = pool.status().workers[0]
    assert (worker.state, worker.batches, worker.items) == (WorkerState.READY, 2, 3)


def has_ended(pid_fd: int) -> bool:
    """Whether a process ends within a generous time."""
    try:
        return bool(select.select([pid_fd], [], [], 20)[0])
    finally:
        os.close(pid_fd)


def test_workers_and_their_template_end_when_the_gateway_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ends = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(ends) == 3
        parent.kill()
    assert [has_ended(end) for end in ends] == [True] * 3


def test_a_worker_that_hangs_ends_with_its_parent_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    script = PARENT.replace("fakes:build", "fakes:build_never").replace(
        "devices=", f"engine_options=FakeOptions({str(tmp_path / 'pid')!r}), devices="
    )
    script = f"from tests.pool.fakes import FakeOptions\n{script}".replace('("cpu", "cpu")', '("cpu",)')
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        end = os.pidfd_open(int((tmp_path / "pid").read_text()))
        parent.kill()
    assert has_ended(end)


def test_a_worker_ends_when_its_line_is_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "featsvc.pool.worker", str(theirs.fileno())]
        worker = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        theirs.close()
        link = Link(ours, kept_bytes=0)
        link.post(Boot.of(0, "cpu", PoolSettings(engines="tests.pool.fakes:build")))
        link.end()
        link.send_all(print)
        assert isinstance(link.receive()[0], WorkerReady)
        ours.close()
        assert worker.wait(20) == 0


async def test_signals_to_the_process_group_do_not_end_the_workers(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem("held", gate=str(gate))))
    await gate.reached()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        kill(pool, 0, number)
    gate.let_through()
    assert (await held[0]).value == "held"
    assert pool.status().workers[0].restarts == 0


def test_neither_the_pool_nor_its_workers_import_heavy_things() -> None:
    code = (
        "import sys, featsvc.pool.workers.pool, featsvc.pool.worker.pipeline;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "grpc", "google", "fastapi", "pydantic", "PIL"} & set(done.stdout.split())


def test_a_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_items: 0, at least 1"):
        PoolSettings(max_batch_items=0)
    with pytest.raises(ValueError, match="devices"):
        PoolSettings(devices=())
