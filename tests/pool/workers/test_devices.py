"""What a worker has of its device and its surroundings, and that all devices have work."""

from __future__ import annotations

import asyncio

import pytest

from featsvc.pool.contract.status import WorkerState
from tests.pool.conftest import MakeGate, StartPool
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submitted


async def test_two_hundred_requests_of_one_service_keep_eight_gpus_busy(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    count, gate = 200, make_gate()
    pool = await start_pool(devices=tuple(f"cuda:{each}" for each in range(8)))
    asked = await submitted(pool, *(job(item=FakeItem(number, gate=str(gate))) for number in range(count)))
    await gate.reached(8)
    assert all(worker.state is WorkerState.BUSY for worker in pool.status().workers)
    gate.let_through(count)
    # How many each answers is a matter of how fast its process is.
    assert len({result.pid for result in await asyncio.gather(*asked)}) == 8


@pytest.mark.parametrize(
    ("device", "is_gpu", "visible"),
    [("cpu", False, None), ("cuda:0", True, None), ("MIG-3a1f", True, "MIG-3a1f")],
)
async def test_a_worker_has_its_threads_and_allocators_that_suit_its_device(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, device: str, is_gpu: bool, visible: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pool = await start_pool(threads=3, devices=(device,))
    environment = (await pool.run(job(does="environment"))).environment
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "MALLOC_MMAP_THRESHOLD_" in environment
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        assert (environment.get(name) == "expandable_segments:True") is is_gpu
    assert environment.get("CUDA_VISIBLE_DEVICES") == visible


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
async def test_an_allocator_that_is_set_by_one_of_its_names_has_no_other(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:128")
    pool = await start_pool(devices=("cuda:0",))
    environment = (await pool.run(job(does="environment"))).environment
    assert {each: value for each, value in environment.items() if "ALLOC_CONF" in each} == {
        name: "max_split_size_mb:128"
    }


async def test_what_an_operator_has_set_stays_where_its_library_bears_it(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")  # which is a flag of ours
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    for given, wanted in (("96", "96"), ("", "64"), ("0", "64"), ("many", "64"), (str(1 << 32), "64")):
        monkeypatch.setenv("LRU_CACHE_CAPACITY", given)
        pool = await start_pool(threads=2)
        environment = (await pool.run(job(does="environment"))).environment
        names = (
            "OMP_NUM_THREADS",
            "OMP_WAIT_POLICY",
            "LRU_CACHE_CAPACITY",
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
        )
        assert [environment[name] for name in names] == ["2", "ACTIVE", wanted, "128"]


async def test_a_worker_has_nothing_of_the_servers_own_environment(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_API_KEY", "a-secret")
    monkeypatch.setenv("HF_HOME", "/models")
    pool = await start_pool()
    environment = (await pool.run(job(does="environment"))).environment
    assert environment["HF_HOME"] == "/models"
    assert not [name for name in environment if name.startswith("FEATSVC_")]
