"""A gateway with a stopwatch in its event loop: `python -m tests.bench.probed THREADS [--instant] [--metrics] [OTLP]`.

Its engines answer at once (fixed.py). With --instant there is not even a worker: what is left is what
the gateway itself adds to gRPC, authentication, checks and one line of log included.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import uvloop

from featsvc.errors import FeatsvcError
from featsvc.logs import setup
from featsvc.pool.contract.job import AnyJob
from featsvc.pool.contract.messages import ItemTiming
from featsvc.pool.contract.status import PoolStatus
from featsvc.processes import tune
from featsvc.server import gateway as gateway_module
from featsvc.settings.tree import Settings
from featsvc.work.caller import Caller
from featsvc.work.results import TextEmbeddings
from tests.bench.children import answer_commands
from tests.bench.fixed import features
from tests.servers import KEY

AT_ONCE = ItemTiming(0.0, 0.0, 0.0, 0.0, 1, True)
Callback: TypeAlias = Callable[..., object]


class Stopwatch:
    """Times every step of the event loop while it is on; made by the loop's thread.

    A step is held by what it does itself and by whoever has a lock that it waits for, the interpreter's for one. While
    it could run and the machine had no processor for it, nothing held it: Linux counts that time.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[float, float, str]] = []
        self.is_on = False
        self._schedule = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def _waited(self) -> float:
        """Seconds that this thread has waited for a processor so far."""
        return int(os.pread(self._schedule, 64, 0).split()[1]) / 1e9

    def start(self) -> dict[str, object]:
        """Begin to time."""
        self.steps, self.is_on = [], True
        return {}

    def stop(self) -> dict[str, object]:
        """The longest steps in milliseconds: what held them, and by the clock."""
        self.is_on = False
        longest = sorted(self.steps, reverse=True)[:5]
        return {
            "longest_ms": 1000 * longest[0][0] if longest else 0.5,
            "longest_by_clock_ms": 1000 * max((took for _, took, _ in self.steps), default=0.0005),
            "steps": [(round(1000 * held, 2), round(1000 * took, 2), text) for held, took, text in longest],
        }

    def timed(self, callback: Callback) -> Callback:
        """The callback, timed whenever it runs while the watch is on."""

        def step(*arguments: Any) -> object:
            if not self.is_on:
                return callback(*arguments)
            waited, began = self._waited(), time.perf_counter()
            try:
                return callback(*arguments)
            finally:
                took = time.perf_counter() - began
                if took > 0.0005:
                    self.steps.append((took - (self._waited() - waited), took, _named(callback)))

        return step


class TimedLoop(uvloop.Loop):
    """The event loop that serves, all of whose steps a stopwatch sees. The methods are those that take callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Stopwatch()

    def call_soon(self, callback: Callback, *args: Any, context: Any = None) -> asyncio.Handle:
        """As asyncio's."""
        return super().call_soon(self.watch.timed(callback), *args, context=context)

    def call_soon_threadsafe(self, callback: Callback, *args: Any, context: Any = None) -> asyncio.Handle:
        """As asyncio's."""
        return super().call_soon_threadsafe(self.watch.timed(callback), *args, context=context)

    def call_later(
        self, delay: float, callback: Callback, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return super().call_later(delay, self.watch.timed(callback), *args, context=context)

    def add_reader(self, fd: Any, callback: Callback, *args: Any) -> None:
        """As asyncio's."""
        super().add_reader(fd, self.watch.timed(callback), *args)


def _named(callback: Callback) -> str:
    """What the step was. Not its repr, which takes milliseconds where a future holds a megabyte."""
    owner = getattr(callback, "__self__", None)
    named = owner.get_coro() if isinstance(owner, asyncio.Task) else callback
    return str(getattr(named, "__qualname__", type(callback).__name__))


class InstantPool:
    """Answers every job at once, in the gateway itself."""

    def __init__(self, settings: object) -> None:
        self._reply = TextEmbeddings(features()[0, :1, :512])

    async def __aenter__(self) -> InstantPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def run(self, job: AnyJob) -> Any:  # Any: as the protocol has it
        """The fixed embedding."""
        job.times.note(job.times.arrived_at, 0, AT_ONCE)
        return self._reply

    async def load(self, model: str, worker: int | None = None) -> None:
        """Nothing to load."""

    async def unload(self, model: str) -> int:
        """Nothing to drop."""
        return 0

    def status(self) -> PoolStatus:
        """Nobody works."""
        return PoolStatus((), 0, 0, 0)

    async def alive_change(self, last: int = -1) -> int:
        """One worker, for ever."""
        if last == 1:
            await asyncio.Event().wait()
        return 1

    async def news(self, last: int = -1) -> int:
        """None but the first."""
        return await self.alive_change(last)

    async def cannot_work(self) -> FeatsvcError:
        """It can."""
        return await asyncio.get_running_loop().create_future()

    def check_room(self, caller: Caller, nbytes: int, announced: int) -> None:
        """There is room."""

    def batch_bytes(self) -> int:
        """Nothing waits for a batch."""
        return sys.maxsize

    async def drain(self, grace_s: float) -> None:
        """Nothing runs."""


async def main(threads: int, instant: bool, watching: dict[str, Any]) -> None:
    """Serve until the caller is gone."""
    if instant:
        gateway_module.chosen_pool = lambda _, of_pool: InstantPool(of_pool)  # type: ignore[assignment, return-value]  # what the gateway runs on
    # Room for 64 MiB in one message, which is more than a reply may have by default.
    settings = Settings(
        profile="demo",
        grpc_port=0,
        devices="cpu",
        threads=threads,
        offline=True,
        max_reply_bytes=1 << 30,
        **watching,
    )
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    watch = loop.watch if isinstance(loop, TimedLoop) else Stopwatch()

    def talk() -> None:
        answer_commands({"start": watch.start, "stop": watch.stop})
        loop.call_soon_threadsafe(gone.set)

    async with gateway_module.gateway(settings, (KEY,), engines="tests.bench.fixed:build") as running:
        tune()
        await running.pool.alive_change(0)
        print(json.dumps({"event": "listening", "port": running.port}), flush=True)
        threading.Thread(target=talk, daemon=True).start()
        await gone.wait()


if __name__ == "__main__":
    setup("info")
    # Each step of the loop costs something to time, and with --instant nothing asks for that.
    instant = "--instant" in sys.argv
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if instant else TimedLoop) as runner:
        watching: dict[str, Any] = {"metrics_port": 0} if "--metrics" in sys.argv else {}
        endpoint = next((each for each in sys.argv if each.startswith("http://")), "")
        watching |= {"otlp_endpoint": endpoint} if endpoint else {}
        runner.run(main(int(sys.argv[1]), instant, watching))
