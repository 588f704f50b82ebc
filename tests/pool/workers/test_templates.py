"""Workers that are forked from a process that has imported their engines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from featsvc.errors import Unavailable
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.worker.life import NAME
from featsvc.pool.workers import forks
from featsvc.pool.workers.local import local_pool
from tests.pool.conftest import MakeGate, StartPool, kill, parent_of, restarted
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit
from tests.pool.workers.conftest import Children, Engines, stat

ENDS_ONCE_LOOKED_AT = """
import os, threading
seen, listed = threading.Event(), os.listdir
threading.Thread(target=seen.wait, daemon=True).start()
def listdir(path):
    names = listed(path)
    if path == "/proc/self/task":
        seen.set()
    return names
os.listdir = listdir
"""


def files(pid: int) -> list[str]:
    return [os.readlink(each).partition(":")[0] for each in Path(f"/proc/{pid}/fd").iterdir()]


async def test_workers_are_forked_and_have_nothing_of_their_template_or_of_each_other(
    start_pool: StartPool,
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    template = parent_of(pool)
    assert stat(template)[2] == str(os.getpid())
    kill(pool)
    await restarted(pool, 1)
    for number in range(2):
        pid = pool.status().workers[number].pid
        assert pid is not None
        assert stat(pid)[0] == NAME
        assert (parent_of(pool, number), stat(pid)[3]) == (template, str(pid))
        assert sorted(files(pid)[3:]) == ["socket"], "its link, beside the standard files"
    assert len(await asyncio.gather(*submit(pool, *(job(number) for number in range(20))))) == 20


async def test_how_a_forked_worker_ended_is_told(
    start_pool: StartPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await start_pool()
    dying = submit(pool, job(does="exit"))[0]
    await restarted(pool, 1)
    dying.cancel()
    (death,) = (record for record in caplog.records if record.message == "worker died")
    assert death.__dict__["returncode"] == 3


async def test_a_thread_that_ends_in_a_moment_keeps_nobody_from_forking(
    start_pool: StartPool, engines: Engines
) -> None:
    pool = await start_pool(engines=engines(ENDS_ONCE_LOOKED_AT))
    assert parent_of(pool) != os.getpid()


async def test_libraries_see_the_gpus_that_the_gateway_was_started_with(
    start_pool: StartPool, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    seen = tmp_path / "seen"
    path = engines(f"import os; open({str(seen)!r}, 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', ''))")
    pool = await start_pool(engines=path)
    assert parent_of(pool) != os.getpid()
    assert seen.read_text() == "1"


async def test_where_the_system_lets_nobody_fork_the_log_says_why(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
    pool = await start_pool()
    assert parent_of(pool) == os.getpid()
    assert caplog.text.count("not in this sandbox") == 1


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "1 threads",
        ),
        ("kept = open('/dev/zero')", "files open: /dev/zero"),
        (
            "import os; once = __file__ + '.once'; os.path.exists(once) or open(once, 'w') and os.kill(os.getpid(), 9)",
            "has ended",
        ),
    ],
)
async def test_a_worker_that_cannot_be_forked_is_a_fresh_interpreter(
    start_pool: StartPool,
    children: Children,
    engines: Engines,
    lines: str,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = await start_pool(engines=engines(lines))
    kill(pool)
    await restarted(pool, 1)
    assert parent_of(pool) == os.getpid()
    assert children() <= {worker.pid for worker in pool.status().workers}, "the template has ended"
    assert (await pool.run(job("there"))).value == "there"
    told = [record.message for record in caplog.records if record.name == forks.__name__]
    assert len(told) == 1, "once"
    assert why in told[0]


async def test_engines_that_cannot_be_imported_are_told_of_by_the_worker(
    settings: PoolSettings, engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    path = engines("raise ImportError('no such library')")
    async with local_pool(replace(settings, engines=path, max_failed_starts=2)) as pool:
        with pytest.raises(Unavailable, match="no worker can start"):
            await pool.run(job())
    assert caplog.text.count("no such library") == 1, "here; the worker writes to standard error"
    assert "worker cannot start" in caplog.text


async def test_what_libraries_say_while_they_are_imported_is_logged_as_all_else(
    start_pool: StartPool, engines: Engines, capfd: pytest.CaptureFixture[str]
) -> None:
    path = engines("import warnings; warnings.warn('is old')")
    await start_pool(engines=path, log_level="WARNING", log_format="json")
    said = ""
    while not said.endswith("\n"):  # a thread of the worker writes it
        said += capfd.readouterr().err
    assert "is old" in json.loads(said)["message"]


async def test_workers_of_different_devices_share_a_template_where_they_can(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    devices = ("MIG-1", "MIG-2", "cpu")
    pool, gate = await start_pool(devices=devices, max_batch_items=1, max_concurrency=1, slots=1), make_gate()
    assert parent_of(pool, 0) == parent_of(pool, 1)
    assert parent_of(pool, 2) != parent_of(pool), (
        "allocators of a GPU are set before its libraries are loaded"
    )
    asked = submit(pool, *(job(item=FakeItem(does="environment", gate=str(gate))) for _ in devices))
    await gate.reached(len(devices))
    gate.let_through(len(devices))
    shown = {each.pid: each.environment.get("CUDA_VISIBLE_DEVICES") for each in await asyncio.gather(*asked)}
    assert [shown[worker.pid] for worker in pool.status().workers] == ["MIG-1", "MIG-2", None]


async def test_without_a_template_each_worker_is_a_fresh_interpreter(start_pool: StartPool) -> None:
    pool = await start_pool(worker_template=False)
    assert parent_of(pool) == os.getpid()
    kill(pool)
    await restarted(pool, 1)
    assert parent_of(pool) == os.getpid()
