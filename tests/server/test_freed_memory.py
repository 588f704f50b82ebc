"""What the gateway and the shim have freed goes back when nothing is asked any more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc import memory
from featsvc.memory import trim_at_rest
from featsvc.processes import keep_large_blocks
from featsvc.v1 import model_pb2
from tests.rest.fake_gateway import fake_gateway
from tests.rest.shim import shim
from tests.rest.wire import question, request, wire
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, start

SOON_S, PATIENCE_S = 0.01, 60


class Trims:
    """Notes that memory is given back, in place of giving it back."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()

    def note(self, keep: Callable[[], None]) -> None:
        self.count += 1
        self._loop.call_soon_threadsafe(self._came.set)

    async def came(self) -> None:
        await asyncio.wait_for(self._came.wait(), PATIENCE_S)
        self._came.clear()


@pytest.fixture
async def trims(monkeypatch: pytest.MonkeyPatch) -> Trims:
    found = Trims()
    monkeypatch.setattr(memory, "trim", found.note)
    return found


class Count:
    """What was done so far, as each look finds it."""

    def __init__(self, *counts: int) -> None:
        self._left = list(counts)
        self.is_over = asyncio.Event()

    def __call__(self) -> int:
        if len(self._left) == 1:
            self.is_over.set()
            return self._left[0]
        return self._left.pop(0)


@pytest.mark.parametrize(
    ("counts", "trimmed"),
    [([0] * 6, 0), ([0, 1, 2, 3, 4], 0), ([0, 1, 1, 1, 1, 1], 1), ([0, 1, 1, 2, 2, 2], 2)],
)
async def test_memory_goes_back_once_after_each_time_of_work(
    trims: Trims, counts: list[int], trimmed: int
) -> None:
    count = Count(*counts)
    watching = asyncio.create_task(trim_at_rest(count, SOON_S, keep_large_blocks))
    await asyncio.wait_for(count.is_over.wait(), PATIENCE_S)
    seen = trims.count
    watching.cancel()
    assert seen == trimmed


async def test_nothing_goes_back_where_it_is_off(trims: Trims) -> None:
    await asyncio.wait_for(trim_at_rest(Count(0, 1, 1, 1), 0.0, keep_large_blocks), PATIENCE_S)
    assert trims.count == 0


async def test_a_question_makes_the_gateway_give_back_and_probes_do_not(trims: Trims) -> None:
    async with start(give_back_after=SOON_S) as served:
        for _ in range(20):
            await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
            await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
        assert trims.count == 0
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)
        await trims.came()


async def test_a_body_makes_the_shim_give_back(trims: Trims) -> None:
    async with (
        fake_gateway() as gateway,
        shim(gateway.target, give_back_after=SOON_S) as ports,
        wire(ports) as line,
    ):
        await line.send(request(question()))
        await line.answer()
        await trims.came()


# Threads beside the first have an arena of their own, whose end malloc_trim leaves alone.
BLOCKS = """
import ctypes, sys, threading
from featsvc import memory, processes

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
processes.keep_few_arenas()
processes.keep_large_blocks()

def work():
    blocks = [libc.malloc(1 << 20) for _ in range(40)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    done.set()
    ended.wait()

done, ended = threading.Event(), threading.Event()
memory.trim(processes.keep_large_blocks)
before = memory.resident_bytes()
thread = threading.Thread(target=work)
thread.start()
done.wait()
at_work = memory.resident_bytes()
memory.trim(processes.keep_large_blocks)
print(at_work - before >> 20, memory.resident_bytes() - before >> 20)
ended.set()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_what_threads_have_freed_goes_back_too() -> None:
    told = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True).stdout
    at_work, at_rest = map(int, told.split())
    assert at_work >= 40
    assert at_rest <= 2


def test_where_there_may_be_no_more_threads_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = threading.Thread.start, list[threading.Thread]()

    def start(thread: threading.Thread) -> None:
        if begun:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        begin(thread)

    kept: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", start)
    memory.trim(lambda: kept.append(1))
    assert kept == [1]
    assert not begun[0].is_alive()
