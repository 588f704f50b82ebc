"""Child processes that die, and what children are told."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from featsvc.children import Child, RestartBackoff, announced_ports, at_work, stop_signal


def test_restarts_come_slower_and_slower_while_a_child_dies_young() -> None:
    clock = [0.0]
    backoff = RestartBackoff(first_s=1, longest_s=5, old_s=10, now=lambda: clock[0])

    def dies_after(lived_s: float) -> float:
        backoff.was_born()
        clock[0] += lived_s
        return backoff.restart_delay_s()

    assert [dies_after(0) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert dies_after(10) == 1
    assert dies_after(9) == 2
    backoff.did_work()
    assert dies_after(0) == 1


def test_only_failed_starts_in_a_row_count() -> None:
    backoff = RestartBackoff()
    counts = []
    for is_born in (False, False, True, False):
        if is_born:
            backoff.was_born()
        assert backoff.restart_delay_s() > 0, "it is tried again for ever"
        counts.append(backoff.failed_starts)
    assert counts == [1, 2, 0, 1]


async def test_a_child_that_dies_at_once_is_started_again_for_ever_also_where_a_start_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starts: list[Process] = []
    stays = asyncio.Event()

    async def start() -> Process:
        number = len(starts)
        code = "raise SystemExit(3)" if number < 3 else "input()"
        starts.append(
            await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stderr=PIPE)
        )
        if number == 1:
            raise OSError("a port is taken")
        if number == 3:
            stays.set()
        return starts[-1]

    child = Child("a child", start, grace_s=1, backoff=RestartBackoff(0.01, 0.02))
    keeper = asyncio.create_task(child.keep(await start(), asyncio.Event()))
    await stays.wait()
    assert not keeper.done()
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert starts[3].returncode == -signal.SIGTERM
    assert "a child died and is started again" in caplog.text
    assert "a child cannot start and is tried again" in caplog.text
    for process in starts:
        await process.communicate()


class Stopping(logging.Handler):
    """Stops the parent at the line that tells of a death, before the pause."""

    def __init__(self, stop: asyncio.Event) -> None:
        super().__init__()
        self._stop = stop

    def emit(self, record: logging.LogRecord) -> None:
        """Is called with the line."""
        self._stop.set()


async def test_work_that_fails_is_told_at_once_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    others = asyncio.Event()

    async def fails() -> None:
        raise RuntimeError("a defect")

    async def goes_on() -> None:
        await asyncio.sleep(0)
        others.set()
        await asyncio.Event().wait()

    async with at_work(fails(), goes_on()):
        await others.wait()
        await asyncio.sleep(0)
        (line,) = caplog.records
        assert (line.levelname, line.message) == ("ERROR", "work in the background has failed")
        assert line.exc_info is not None
    assert len(caplog.records) == 1, "being cancelled is no failure"


async def test_works_that_are_cancelled_at_once_still_end_what_they_were_given() -> None:
    ended = asyncio.Event()

    async def ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with at_work(ends()):
        pass
    assert ended.is_set()


@pytest.mark.parametrize("before_it_ends", [True, False])
async def test_a_child_that_ends_while_its_parent_stops_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, before_it_ends: bool
) -> None:
    async def start() -> Process:
        pytest.fail("it is started again")

    stop = asyncio.Event()
    monkeypatch.setattr("featsvc.children.log", heard := logging.Logger("heard"))
    heard.addHandler(Stopping(stop))
    if before_it_ends:
        stop.set()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await Child("a child", start, grace_s=1, backoff=RestartBackoff(0.01, 0.02)).keep(process, stop)
    assert process.returncode == 0


async def test_a_child_that_is_stopped_is_ended_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[Process] = []
    again = asyncio.Event()

    async def start() -> Process:
        code = "import asyncio, featsvc.children as ours; asyncio.run(ours.beat())"
        starts.append(await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE))
        if len(starts) > 1:
            again.set()
        return starts[-1]

    first = await start()
    assert first.stdout is not None
    assert await first.stdout.read(1) == b"\n"
    first.send_signal(signal.SIGSTOP)
    child = Child("a child", start, grace_s=1, silence_s=1, backoff=RestartBackoff(0.01, 0.02))
    keeper = asyncio.create_task(child.keep(first, asyncio.Event()))
    await again.wait()
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert first.returncode == -signal.SIGKILL
    assert "a child gives no sign of life and is ended" in caplog.text


@pytest.mark.parametrize("said", ["usage: another program", "[1]", "17", "\\xff"])
async def test_a_child_that_says_anything_but_its_ports_is_not_left_behind(said: str) -> None:
    code = f"import sys; sys.stdout.buffer.write(b'{said}\\n'); sys.stdout.flush(); sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)
    with pytest.raises(ValueError, match="it should say its ports"):
        await announced_ports(process, 60)
    assert process.returncode == -signal.SIGKILL


async def test_a_child_that_says_nothing_in_time_is_not_left_behind() -> None:
    code = "import sys; sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)
    with pytest.raises(ValueError, match="said b'nothing'"):
        await announced_ports(process, 0.1)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_what_asks_a_program_to_end_is_heard(number: signal.Signals) -> None:
    # Who runs the tests by nohup has the end of a terminal ignored.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        stop = stop_signal()
        os.kill(os.getpid(), number)
        await stop.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, before)


async def test_a_terminal_that_closes_does_not_end_what_nohup_has_started() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_signal()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
