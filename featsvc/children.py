"""Children, and what they hear and say: started again for ever, ever later while they die young.

A child that beats and falls silent (it is stopped, or hangs) is ended, and so started again. The pool's workers have
only their pauses from here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from featsvc.errors import Unavailable

log = logging.getLogger("featsvc.children")
STARTING_S = 120.0
# What ending takes beside the grace of what still runs.
ENDING_S = 20.0
BEAT_S = 1.0
SILENCE_S = 30.0
# Programs that start this one may hand a Ctrl-C on that the terminal has sent to all of them: it comes twice at once.
TWICE_S = 0.5
INTERRUPTED = 128 + signal.SIGINT
# A parent that was itself stopped finds many beats at once, and must look more than once before it judges.
LOOKS = 4


@dataclass
class RestartBackoff:
    """The deaths of one child so far, and how long its next start waits for them."""

    first_s: float = 0.1
    longest_s: float = 30.0
    old_s: float = 30.0
    """A child that lived this long did not die young."""
    now: Callable[[], float] = time.monotonic
    failed_starts: int = field(init=False, default=0)
    """Starts in a row that came to nothing."""
    has_lived: bool = field(init=False, default=False)
    """Whether it has ever become ready."""
    _young_deaths: int = field(init=False, default=0)
    _born_at: float | None = field(init=False, default=None)

    def was_born(self) -> None:
        """The child became ready."""
        self.failed_starts = 0
        self.has_lived = True
        self._born_at = self.now()

    def did_work(self) -> None:
        """It does not die at once."""
        self._young_deaths = 0

    def restart_delay_s(self) -> float:
        """The child died: seconds until it starts again."""
        born_at, self._born_at = self._born_at, None
        if born_at is None:
            self.failed_starts += 1
        elif self.now() - born_at >= self.old_s:
            self._young_deaths = 0
        # The exponent is bounded so that the power stays a number.
        delay_s: float = self.first_s * 2 ** min(self._young_deaths, 32)
        self._young_deaths += 1
        return min(delay_s, self.longest_s)


@dataclass(frozen=True)
class Child:
    """One child: its name in the log, how it is started, and how long what runs in it may take once it is to end.

    What it writes to a pipe is read and thrown away.
    """

    name: str
    start: Callable[[], Awaitable[Process]]
    grace_s: float
    silence_s: float | None = None
    """Without a beat for so long it is ended; None for one that does not beat."""
    backoff: RestartBackoff = field(default_factory=RestartBackoff)

    async def keep(self, process: Process | None, stop: asyncio.Event) -> None:
        """Starts the child again whenever it has ended, be it in its start; ends it when this is cancelled.

        Once `stop` is set nothing is started: a signal to a whole group of processes has ended the child as well.
        """
        if process is not None:
            self.backoff.was_born()
        try:
            while True:
                if process is not None:
                    returncode = await self._end(process)
                    if stop.is_set():
                        return
                    await self._pause(f"{self.name} died and is started again", returncode=returncode)
                if stop.is_set():
                    return
                process = await self._started()
        finally:
            if process is not None and process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), self.grace_s + ENDING_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _end(self, process: Process) -> int:
        """The status with which it ends, be it because it is silent."""
        listening = asyncio.create_task(self._listen(process))
        try:
            return await process.wait()
        finally:
            listening.cancel()

    async def _listen(self, process: Process) -> None:
        silent = 0
        while process.stdout is not None and silent < LOOKS:
            try:
                async with asyncio.timeout(None if self.silence_s is None else self.silence_s / LOOKS):
                    if not await process.stdout.read(4096):
                        return
                silent = 0
            except TimeoutError:
                silent += 1
        if silent:
            log.error(f"{self.name} gives no sign of life and is ended", extra={"silence_s": self.silence_s})
            with suppress(ProcessLookupError):
                process.kill()

    async def _started(self) -> Process | None:
        try:
            process = await self.start()
        except Exception as error:  # no memory, no descriptors, a port that is taken: all may pass
            await self._pause(f"{self.name} cannot start and is tried again", reason=str(error))
            return None
        self.backoff.was_born()
        return process

    async def _pause(self, message: str, **facts: object) -> None:
        pause_s = self.backoff.restart_delay_s()
        log.error(message, extra={**facts, "pause_s": pause_s})
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def listening(
    name: str,
    words: Sequence[str],
    stop: asyncio.Event,
    grace_s: float,
    silence_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Mapping[str, int]]:
    """The ports of a child that is started by `python -m` and these words, kept listening on them until `stop`.

    What is wrong with the first start is told at once, to whoever has typed the command: it raises Unavailable.
    """
    ports: dict[str, int] = {}

    async def start() -> Process:
        # Later ones take the ports that the first one got, also where those were free ones.
        same = [f"--{port.replace('_', '-')}={number}" for port, number in ports.items()]
        # The pipe ends with this process, however that ends, and the child ends with the pipe. A session of its own:
        # Ctrl-C in a terminal is for us, and we tell it in good order.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *words, *same, "--end-with-stdin"),
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
            start_new_session=True,
        )
        try:
            ports.update(await announced_ports(process, STARTING_S))
        except ValueError as error:
            raise Unavailable(f"{name} does not start: {error}") from None
        return process

    process = None
    try:
        process = await start()
    except Unavailable:
        if not stop.is_set():  # a signal to every process of ours has ended the child too
            raise
    async with at_work(Child(name, start, grace_s, silence_s).keep(process, stop)):
        yield ports


async def announced_ports(process: Process, within_s: float) -> dict[str, int]:
    """The ports that a child says it listens on.

    Raises ValueError where it says anything else, or nothing in time; then it is ended.
    """
    line = b"nothing"
    try:
        async with asyncio.timeout(within_s):
            line = await process.stdout.readline() if process.stdout else b""
        if line:
            return {name: value for name, value in json.loads(line).items() if name.endswith("_port")}
    except BaseException as error:
        with suppress(ProcessLookupError):
            process.kill()
        if not isinstance(error, ValueError | AttributeError | TimeoutError):
            raise
        await process.wait()
        raise ValueError(f"it should say its ports, and said {line[:80]!r}") from None
    raise ValueError(f"it ended with status {await process.wait()}; the lines above say why")


@asynccontextmanager
async def at_work(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """The works run, and are cancelled with this context.

    One that fails has an error in the log, and the others and what they run beside go on.
    """
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_ended)
    try:
        # Each takes its first step: one that is cancelled before it does not even end what it was given.
        await asyncio.sleep(0)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("work in the background has failed", exc_info=error, extra={"work": str(task.get_coro())})


async def beat() -> None:
    """Gives a sign of life on standard output as long as the event loop runs."""
    while True:
        with suppress(OSError):  # nobody reads it any more
            os.write(1, b"\n")
        await asyncio.sleep(BEAT_S)


def stop_signal(end_with_stdin: bool = False) -> asyncio.Event:
    """Set from now on by what asks a program to end; by the end of standard input too, where that was said.

    A further Ctrl-C ends this process and what it has started at once.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def interrupted() -> None:
        nonlocal first_s
        first_s = first_s or time.monotonic()
        if stop.is_set() and time.monotonic() - first_s > TWICE_S:
            os._exit(INTERRUPTED)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # nohup leaves us the end of a terminal ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    if end_with_stdin:
        _stop_at_end_of_stdin(stop, loop)
    return stop


def _stop_at_end_of_stdin(stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """Sets the event when the other end is closed, be it because its process was killed: that can send no signal."""
    stdin = sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            stop.set()

    try:
        loop.add_reader(stdin, read)
    except PermissionError:
        # A file, or nothing at all: nobody holds its other end.
        stop.set()
