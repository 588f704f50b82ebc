"""Templates of workers that die, hang or are ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.worker import Condition
from featsvc.pool.workers import forks
from featsvc.pool.workers.heartbeat import condition
from featsvc.pool.workers.local import local_pool
from tests.pool.conftest import MakeGate, StartPool, all_alive, kill, parent_of, restarted
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit
from tests.pool.workers.conftest import Children, Engines, stat

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
HANGS = "open(%r, 'w').write(str(os.getpid())), time.sleep(3600)"


@pytest.fixture
def as_the_first_process() -> Iterator[None]:
    """Whose parent has ended is this process's from then on, as in a container without an init."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)


def gone(pid: int) -> None:
    """Waits until nothing is left of a process, not even its status."""
    while Path(f"/proc/{pid}").exists():
        pass


async def test_a_template_that_is_killed_takes_its_workers_along_and_another_follows(
    start_pool: StartPool, children: Children, as_the_first_process: None
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    template = parent_of(pool)
    os.kill(template, signal.SIGKILL)
    await restarted(pool, 2)
    assert parent_of(pool) == parent_of(pool, 1) not in (template, os.getpid())
    assert children() == {parent_of(pool)}, "nothing is left of the others"
    assert (await pool.run(job("after"))).value == "after"


async def test_nobody_is_blamed_for_the_end_of_a_template(start_pool: StartPool, make_gate: MakeGate) -> None:
    pool, gate = await start_pool(), make_gate()
    (task,) = submit(pool, job(item=FakeItem("kept", gate=str(gate))))
    for _ in range(2):
        await gate.reached()
        os.kill(parent_of(pool), signal.SIGKILL)
    await gate.reached()
    gate.let_through()
    assert (await task).value == "kept"


async def test_a_template_that_is_stopped_goes_on_for_the_next_worker(start_pool: StartPool) -> None:
    pool = await start_pool()
    template = parent_of(pool)
    os.kill(template, signal.SIGSTOP)
    while condition(template) is not Condition.STOPPED:
        pass
    kill(pool)
    await restarted(pool, 1)
    assert parent_of(pool) == template


async def test_a_worker_does_not_wait_for_ever_for_its_template_and_others_keep_theirs(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    template, kept = parent_of(pool), pool.status().workers[1].pid
    monkeypatch.setattr(forks, "FORK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(forks, "STATUS_TIMEOUT_S", 0.05)
    # As one whose memory has been swapped out.
    monkeypatch.setattr(forks.Template, "resume", lambda template: None)
    os.kill(template, signal.SIGSTOP)
    kill(pool)
    await restarted(pool, 1)
    assert parent_of(pool) == os.getpid(), "a fresh interpreter"
    monkeypatch.undo()
    kill(pool)
    await restarted(pool, 2)
    assert parent_of(pool) not in (template, os.getpid()), "there is a new template"
    assert (parent_of(pool, 1), pool.status().workers[1].pid) == (template, kept)
    os.kill(template, signal.SIGCONT)
    kill(pool, 1)
    await restarted(pool, 3)
    assert parent_of(pool) == parent_of(pool, 1)
    await asyncio.to_thread(gone, template)


async def test_a_template_that_hangs_before_its_first_fork_is_ended_and_workers_import(
    settings: PoolSettings, engines: Engines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pid")
    hangs = HANGS % str(tmp_path / "pid")
    path = engines(f"import os, sys, time; sys.argv[-1] == 'CRITICAL' and ({hangs})  # the template's")
    async with local_pool(replace(settings, engines=path)) as pool:
        template = int(await asyncio.to_thread((tmp_path / "pid").read_text))
        (worker,) = pool._workers
        worker._hung()  # as when the time for its start is over
        await all_alive(pool)
        assert parent_of(pool) == os.getpid()
        gone(template)
    assert caplog.text.count("a start was given up before their template had forked any") == 1


async def test_a_pool_ends_while_its_template_still_imports(
    settings: PoolSettings, engines: Engines, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pid")
    path = engines(
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    )
    before = threading.active_count()
    async with local_pool(replace(settings, engines=path)):
        pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
        assert stat(pid)[2] == str(os.getpid())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for each in threading.enumerate():
        if each.name.startswith(("from-worker", "to-worker")):
            each.join(30)  # it may take a moment to end
    assert threading.active_count() <= before + 1, "the one of this test"
