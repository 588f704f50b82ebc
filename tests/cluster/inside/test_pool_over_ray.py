"""The pool over Ray with engines that do as they are told: deaths, cancelled work, refusals, what is large.

All of it twice: with the worker on the gateway's node, and on another.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from featsvc.errors import DeadlineExceeded, FeatsvcError, InvalidArgument, KilledWorkers, Unavailable
from featsvc.pool.cluster.pool import ray_pool
from featsvc.pool.contract.settings import PoolSettings, Share
from tests.cluster.cluster import Cluster
from tests.pool.conftest import Journal, StartPool, all_alive, restarted
from tests.pool.fakes import FakeItem, FakeOptions
from tests.pool.gates import Gate
from tests.pool.jobs import job, submit

LARGE_BYTES = 16 << 20


@dataclass(frozen=True)
class Place:
    """Where the worker is to be."""

    gateway: str
    """Address of the cluster."""
    share: Share
    machine: str


@pytest.fixture(scope="module")
def head(cluster: Cluster) -> Cluster:
    """The cluster, with the gateway's node."""
    cluster.start(1, cpus=2)
    return cluster


@pytest.fixture(scope="module", params=["here", "elsewhere"])
def place(request: pytest.FixtureRequest, head: Cluster) -> Place:
    """The gateway's node, or another that comes and alone has room for a larger share."""
    if request.param == "here":
        return Place(head.address, Share(cpus=1.0, gpus=0.0), "127.0.0.1")
    head.start(2, cpus=4)
    return Place(head.address, Share(cpus=3.0, gpus=0.0), "127.0.0.2")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest_asyncio.fixture
async def start_pool(place: Place, journal: Journal) -> AsyncIterator[StartPool]:
    """Starts a pool of one worker over Ray."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Any:
            settings = PoolSettings(
                engines="tests.pool.fakes:build",
                engine_options=FakeOptions(str(journal), **options),
                threads=1,
                restart_delay_s=0.01,
                max_failed_starts=2,
            )
            return await stack.enter_async_context(ray_pool(settings, place.gateway, place.share))

        yield start


async def test_what_kills_two_workers_is_refused_and_what_was_beside_it_is_answered(
    start_pool: StartPool, journal: Journal
) -> None:
    pool = await start_pool()
    await all_alive(pool)
    poison, *others = submit(pool, job("poison", "die"), *(job(value) for value in range(5)))
    with pytest.raises(KilledWorkers):
        await poison
    assert [answer.value for answer in await asyncio.gather(*others)] == list(range(5))
    await restarted(pool, 2)
    assert sum("poison" in line for line in journal.lines() if line.startswith("run")) == 2


async def test_results_errors_and_large_arrays_come_back_as_they_are(start_pool: StartPool) -> None:
    pool = await start_pool()
    await all_alive(pool)
    large = (await pool.run(job(str(LARGE_BYTES), "array"))).value
    np.testing.assert_array_equal(large, np.arange(LARGE_BYTES // 4, dtype=np.float32))
    assert not large.flags.writeable, "in memory that its writer may use again, or that others may read too"
    assert (await pool.run(job(bytes(LARGE_BYTES), "length", nbytes=LARGE_BYTES))).value == LARGE_BYTES
    with pytest.raises(InvalidArgument, match="not a picture"):
        await pool.run(job(does="refuse"))
    with pytest.raises(FeatsvcError, match="the result cannot be sent"):
        await pool.run(job(does="unpicklable"))


async def test_on_the_gateways_node_memory_is_shared_and_nothing_of_it_is_left_of_a_worker_that_was_killed(
    start_pool: StartPool, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pool = await start_pool()
    await all_alive(pool)
    is_here = place.machine == "127.0.0.1"
    (placed,) = (each for each in caplog.records if each.message == "worker is placed")
    assert placed.__dict__["shares_memory"] is is_here
    large = (await pool.run(job(str(LARGE_BYTES), "array"))).value
    assert len(shared_memory()) == is_here
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    await restarted(pool, 1)
    assert large[-1] == LARGE_BYTES // 4 - 1, "what is still in use stays"
    del large
    assert shared_memory() == []
    assert (await pool.run(job(str(LARGE_BYTES), "array"))).value[-1] == LARGE_BYTES // 4 - 1


def shared_memory() -> list[str]:
    """What this process maps of the memory files of workers."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:featsvc" in line]


async def test_work_ends_with_its_caller_and_with_its_deadline(
    start_pool: StartPool, journal: Journal, tmp_path: Path
) -> None:
    pool = await start_pool()
    await all_alive(pool)
    with pytest.raises(DeadlineExceeded):
        await pool.run(job("late", "compute until abandoned", deadline_s=0.5))
    with Gate(tmp_path / "gate") as gate:
        item = FakeItem("left", "compute until abandoned", gate=str(gate))
        (left,) = submit(pool, job(item=item))
        await gate.reached()
        left.cancel()
        gate.let_through()
        await pool.remove_worker(0, grace_s=60)  # which waits until nothing is at work there
    assert "abandoned left" in journal.lines()


async def test_the_environment_has_what_engines_need_and_none_of_our_settings(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_API_KEY", "secret")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "96")
    pool = await start_pool()
    await all_alive(pool)
    environment = (await pool.run(job(does="environment"))).environment
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["MALLOC_ARENA_MAX"] == "2"
    assert environment["LRU_CACHE_CAPACITY"] == "96"
    assert "FEATSVC_API_KEY" not in environment


async def refused_for_now(pool: Any) -> None:
    """Until so many starts have failed that nobody waits for the next."""
    with pytest.raises(Unavailable, match="no worker can start at the moment"):
        await pool.run(job())


async def test_who_cannot_work_there_says_why_and_is_tried_elsewhere(
    start_pool: StartPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await start_pool(device_is_there=False)
    hopeless = asyncio.create_task(pool.cannot_work())
    await refused_for_now(pool)
    assert "cpu is not on this machine" in caplog.text
    assert not hopeless.done()
    hopeless.cancel()


async def test_a_machine_with_another_version_is_not_used_until_it_has_the_same(
    start_pool: StartPool, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Only now, for Ray reads its environment when it is imported.
    from featsvc.pool.cluster import worker

    monkeypatch.setattr(worker, "__version__", "9.9.9")
    pool = await start_pool()
    await refused_for_now(pool)
    assert "the gateway 9.9.9" in caplog.text
    monkeypatch.undo()
    await all_alive(pool)
    (worker,) = pool.status().workers
    assert (worker.machine, worker.restarts > 0) == (place.machine, True)


async def test_what_is_no_cluster_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"ray_address: ray://127.0.0.1:1 is no address of a cluster"):
        async with ray_pool(PoolSettings(), "ray://127.0.0.1:1", Share(cpus=1.0, gpus=0.0)):
            pass
