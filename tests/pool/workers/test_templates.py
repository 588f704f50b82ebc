"""Workers that are forked from a process that has imported their engines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from featsvc.errors import Unavailable
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.worker import Condition
from featsvc.pool.worker.life import NAME
from featsvc.pool.workers import templates
from featsvc.pool.workers.heartbeat import condition
from featsvc.pool.workers.local import local_pool
from tests.pool.conftest import MakeGate, StartPool, kill, parent_of, restarted
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit

Engines = Callable[[str], str]


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """The import path of engines whose module begins with these lines."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(lines: str) -> str:
        (tmp_path / "engines_of_a_test.py").write_text(f"{lines}\nfrom tests.pool.fakes import build\n")
        return "engines_of_a_test:build"

    return written


def stat(pid: int) -> list[str]:
    """What /proc says of a process, from its name on: name, state, parent, group."""
    raw = Path(f"/proc/{pid}/stat").read_text()
    return [raw[raw.index("(") + 1 : raw.rindex(")")], *raw.rpartition(")")[2].split()]


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


async def test_a_template_that_is_killed_takes_its_workers_along_and_another_follows(
    start_pool: StartPool,
) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    template = parent_of(pool)
    os.kill(template, signal.SIGKILL)
    await restarted(pool, 2)
    assert parent_of(pool) == parent_of(pool, 1) not in (template, os.getpid())
    assert (await pool.run(job("after"))).value == "after"


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
    monkeypatch.setattr(templates, "FORK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(templates, "STATUS_TIMEOUT_S", 0.05)
    # As one whose memory has been swapped out.
    monkeypatch.setattr(templates.Template, "resume", lambda template: None)
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


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "1 threads",
        ),
        ("kept = open('/dev/zero')", "files open: /dev/zero"),
        ("import os; os.path.exists('once') or open('once', 'w') and os.kill(os.getpid(), 9)", "has ended"),
    ],
)
async def test_a_worker_that_cannot_be_forked_is_a_fresh_interpreter(
    start_pool: StartPool,
    engines: Engines,
    lines: str,
    why: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    lines = lines.replace("once", str(tmp_path / "once"))
    pool = await start_pool(engines=engines(lines))
    kill(pool)
    await restarted(pool, 1)
    assert parent_of(pool) == os.getpid()
    assert (await pool.run(job("there"))).value == "there"
    told = [record.message for record in caplog.records if record.name == templates.__name__]
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
    (line,) = capfd.readouterr().err.splitlines()
    assert "is old" in json.loads(line)["message"]


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
    assert threading.active_count() <= before + 1, "the one of this test"


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
