"""A process without descriptors or memory: what it cannot send or receive is refused, and nothing dies of it."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from featsvc.errors import OutOfMemory, Overloaded, is_out_of_memory
from featsvc.pool.contract.messages import Outcome
from featsvc.pool.transport import shared_memory as segments
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import Reserve, is_no_room
from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.processes import raise_limit
from tests.pool.conftest import MakeGate, StartPool, all_alive, kill, parent_of
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit


@contextmanager
def no_descriptors(spare: int = 0) -> Iterator[None]:
    """Within the block this process can open so many files more, and no further ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for fd in taken[:spare]:
            os.close(fd)
        for fd in taken[spare:]:
            stack.callback(os.close, fd)
        yield


async def test_no_descriptor_for_a_picture_refuses_its_request_and_kills_no_worker(
    start_pool: StartPool,
) -> None:
    pool = await start_pool(reserved_descriptors=0)
    with no_descriptors():
        with pytest.raises(Overloaded, match=r"no memory or descriptors .*: try again in 1\.0 s") as refusal:
            await pool.run(job(item=FakeItem(bytes(1_000_000)), nbytes=1_000_000))
        assert refusal.value.retry_after_ms > 0
        assert (await pool.run(job("small"))).value == "small"
    assert (await pool.run(job(item=FakeItem(bytes(1_000_000)), nbytes=1_000_000))).value == bytes(1_000_000)
    assert pool.status().workers[0].restarts == 0


async def test_no_memory_for_a_picture_refuses_its_request_and_kills_no_worker(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(segments, "_populate", full)
        with pytest.raises(Overloaded):
            await pool.run(job(item=FakeItem(bytes(1_000_000)), nbytes=1_000_000))
    assert (await pool.run(job("after"))).value == "after"
    assert pool.status().workers[0].restarts == 0


async def test_no_descriptor_for_a_large_answer_refuses_its_request_and_kills_no_worker(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(reserved_descriptors=0), make_gate()
    asked = submit(pool, job(item=FakeItem(1_000_000, "array", gate=str(gate))))
    await gate.reached()
    with no_descriptors():
        gate.let_through()
        with pytest.raises(Overloaded, match="no memory or descriptors"):
            await asked[0]
    assert (await pool.run(job(1_000_000, "array"))).value.nbytes == 1_000_000
    assert pool.status().workers[0].restarts == 0


async def test_the_reserve_carries_pictures_while_connections_have_all_other_descriptors(
    start_pool: StartPool,
) -> None:
    pool = await start_pool()
    with no_descriptors():
        asked = job(item=FakeItem(bytes(500_000), "length"), nbytes=500_000)
        assert (await pool.run(asked)).value == 500_000


async def test_the_reserve_starts_workers_while_connections_have_all_other_descriptors(
    start_pool: StartPool,
) -> None:
    pool = await start_pool()
    template = parent_of(pool)
    with no_descriptors():
        kill(pool)
        await pool.alive_change(1)
        await all_alive(pool)
        assert (await pool.run(job("again"))).value == "again"
    assert parent_of(pool) == template
    assert pool.status().workers[0].restarts == 1


def test_a_reserve_is_used_only_where_there_is_nothing_else_and_filled_again() -> None:
    reserve = Reserve(3)
    before = len(os.listdir("/proc/self/fd"))
    os.close(reserve.use(lambda: os.open(os.devnull, os.O_RDONLY)))
    assert len(os.listdir("/proc/self/fd")) == before
    with no_descriptors():
        fd = reserve.use(lambda: os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="open files"):
            Reserve(0).use(lambda: os.open(os.devnull, os.O_RDONLY))
    os.close(fd)
    reserve.use(lambda: None)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        reserve.use(lambda: os.open("/nowhere", os.O_RDONLY))
    reserve.close()
    assert len(os.listdir("/proc/self/fd")) == before - 3


def test_memory_of_an_answer_that_could_not_be_mapped_is_used_no_more_and_later_ones_arrive() -> None:
    sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours, theirs = (Link(each, 1 << 30) for each in sockets)
    threads = [
        threading.Thread(target=link.send_all, args=(lambda message, error: None,)) for link in (ours, theirs)
    ]
    for thread in threads:
        thread.start()
    large = np.zeros(LARGE_BYTES, np.uint8)
    ours.post(Outcome(1, large), Outcome(2, large))
    ours.post(3)
    threads[0].join(0.2)  # both are in the socket; what is below must hold wherever they are
    with no_descriptors():
        received = theirs.receive()
    while len(received) < 3:
        received += theirs.receive()
    assert sum(isinstance(each, Outcome) and isinstance(each.error, Overloaded) for each in received) >= 1
    assert 3 in received
    ours.post(Outcome(4, large))
    assert theirs.receive()[0].result.nbytes == LARGE_BYTES
    for link in (ours, theirs):
        link.end()
    for thread in threads:
        thread.join()
    for link in (ours, theirs):
        link.close()


def test_the_soft_limit_of_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_soft_limit_that_cannot_be_infinite_is_raised_as_far_as_macos_lets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [(256, resource.RLIM_INFINITY)]

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        if not 0 <= wanted[0] <= 10240:
            raise ValueError("Invalid argument")
        limits.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_limit()
    assert limits[-1] == (10240, resource.RLIM_INFINITY)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        type("AcceleratorError", (RuntimeError,), {"error_code": 2})("CUDA error: whatever it is called"),
        type("error", (Exception,), {})("OpenCV(4.11) (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
)
def test_every_library_says_in_its_own_way_that_there_is_no_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        type("AcceleratorError", (RuntimeError,), {"error_code": 9})("CUDA error: invalid configuration"),
        OSError(),
    ],
)
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_no_room(error)


@pytest.mark.parametrize("stage", ["prepare", "run"])
async def test_no_memory_in_any_stage_is_told_as_such(start_pool: StartPool, stage: str) -> None:
    pool = await start_pool()
    with pytest.raises(OutOfMemory, match="no memory for this request"):
        await pool.run(job(item=FakeItem("large", "no memory", stage=stage)))
