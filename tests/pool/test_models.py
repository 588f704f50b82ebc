"""Models in the memory of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from featsvc.errors import FeatsvcError, InvalidArgument, OutOfMemory, WeightsMissing
from featsvc.pool.local import LocalPool
from featsvc.pool.messages import Models
from featsvc.pool.status import CacheStatus, LoadedModel
from featsvc.pool.worker.model_cache import ModelCache
from tests.pool.conftest import Journal, MakeGate, StartPool, all_alive
from tests.pool.fakes import FakeItem, FakeModel
from tests.pool.jobs import job, submit, submitted


def loaded(pool: LocalPool) -> list[list[str]]:
    return [[model.name for model in worker.models] for worker in pool.status().workers]


def loads(journal: Journal) -> list[str]:
    return [line.removeprefix("load ") for line in journal.lines() if line.startswith("load")]


async def test_a_model_is_loaded_on_first_use_and_once(start_pool: StartPool, journal: Journal) -> None:
    pool = await start_pool()
    assert loaded(pool) == [[]]
    await asyncio.gather(*submit(pool, *(job(number, model="m-100") for number in range(9))))
    assert pool.status().workers[0].models == (LoadedModel("m-100", 100, ("fake_m-100",)),)
    assert loads(journal) == ["m-100"]


async def test_the_least_recently_used_model_goes_when_bytes_run_out(
    start_pool: StartPool, journal: Journal
) -> None:
    pool = await start_pool(model_memory_bytes=250)
    for model in ("a-100", "b-100", "a-100", "c-100"):
        await pool.run(job(model=model))
    assert loaded(pool) == [["a-100", "c-100"]]
    await pool.run(job(model="b-100"))
    assert loads(journal) == ["a-100", "b-100", "c-100", "b-100"]


async def test_the_least_recently_used_model_goes_when_there_are_too_many(start_pool: StartPool) -> None:
    pool = await start_pool(max_models=2)
    for model in ("a", "b", "a", "c"):
        await pool.run(job(model=model))
    assert loaded(pool) == [["a", "c"]]


async def test_a_model_larger_than_the_budget_is_kept_alone(start_pool: StartPool) -> None:
    pool = await start_pool(model_memory_bytes=250)
    for model in ("a-100", "big-900"):
        await pool.run(job(model=model))
    assert loaded(pool) == [["big-900"]]


async def test_a_model_is_not_evicted_under_a_running_batch(
    start_pool: StartPool, make_gate: MakeGate, journal: Journal
) -> None:
    pool, gate = await start_pool(max_models=1), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate)), model="a"))
    await gate.reached()
    other = await submitted(pool, job(model="b"))
    assert loads(journal) == ["a"]
    gate.let_through()
    results = await asyncio.gather(*held, *other)
    assert [result.model for result in results] == ["a", "b"]
    assert loaded(pool) == [["b"]]
    assert pool.status().workers[0].restarts == 0


async def test_a_slow_load_holds_up_no_batch_whose_model_is_there(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    await pool.run(job("first"))
    loading = submit(pool, job("slow", model=f"gated:{gate}"))[0]
    await gate.reached()
    assert (await pool.run(job("second"))).value == "second"
    assert not loading.done()
    gate.let_through()
    assert (await loading).value == "slow"


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [("missing", WeightsMissing, "no weights"), ("broken", FeatsvcError, "loading")],
)
async def test_a_failed_load_is_neither_cached_nor_listed(
    start_pool: StartPool, journal: Journal, model: str, error: type[FeatsvcError], words: str
) -> None:
    pool = await start_pool()
    for _ in range(2):
        with pytest.raises(error, match=words) as failure:
            await pool.run(job(model=model))
        assert "secret" not in failure.value.message
    with pytest.raises(error, match=words):
        await pool.load(model)
    assert loaded(pool) == [[]]
    assert loads(journal) == [model] * 3
    assert (await pool.run(job("good"))).value == "good"


async def test_models_are_preloaded_before_a_worker_counts_as_alive(start_pool: StartPool) -> None:
    pool = await start_pool(preload=("a", "missing", "b"))
    assert loaded(pool) == [["a", "b"]]
    assert pool.status().workers[0].failed_preloads == ("missing",)


async def test_a_restarted_worker_preloads_again_and_forgets_the_rest(start_pool: StartPool) -> None:
    pool = await start_pool(preload=("a",))
    await pool.load("b")
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    await pool.alive_change(1)
    assert loaded(pool) == [[]]
    await all_alive(pool)
    assert loaded(pool) == [["a"]]


async def test_load_and_unload_act_on_all_workers_or_on_one(start_pool: StartPool) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    await pool.load("a")
    await pool.load("b", worker=1)
    assert loaded(pool) == [["a"], ["a", "b"]]
    assert await pool.unload("a") == 2
    assert loaded(pool) == [[], ["b"]]
    assert await pool.unload("a") == 0
    with pytest.raises(InvalidArgument, match="worker: 2"):
        await pool.load("a", worker=2)


async def test_unloading_waits_for_the_batch_that_uses_the_model(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(), make_gate()
    held = submit(pool, job(item=FakeItem(gate=str(gate))))
    await gate.reached()
    unload = asyncio.create_task(pool.unload("m"))
    prompt = await asyncio.wait([unload], timeout=0.05)
    assert not prompt[0]
    gate.let_through()
    assert await unload == 1
    await asyncio.gather(*held)
    assert loaded(pool) == [[]]
    assert pool.status().workers[0].restarts == 0


async def test_a_job_goes_to_the_worker_that_has_its_model(start_pool: StartPool) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    await pool.load("a", worker=1)
    await pool.load("b", worker=0)
    pids = [worker.pid for worker in pool.status().workers]
    for model, pid in (("a", pids[1]), ("b", pids[0])) * 3:
        assert (await pool.run(job(model=model))).pid == pid


class ScarceMemory:
    """Engines with room for so many models, whatever the budget says."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.cache: ModelCache | None = None

    def load(self, model: str) -> FakeModel:
        if self.cache is not None and len(self.cache._shelves) >= self.room:
            raise MemoryError
        return FakeModel(model, 1)


def test_idle_models_make_way_when_a_device_has_no_memory_for_another() -> None:
    told: list[list[str]] = []
    engines = ScarceMemory(room=2)
    cache = engines.cache = ModelCache(engines, 0, 0, lambda models: told.append([m.name for m in models]))
    for model in ("a", "b"):
        with cache.using(model):
            pass
    with cache.using("c"):
        assert told[-1] == ["c"]


def test_a_model_that_never_fits_is_out_of_memory_and_not_kept() -> None:
    engines = ScarceMemory(room=0)
    cache = engines.cache = ModelCache(engines, 0, 0, lambda models: None)
    with pytest.raises(OutOfMemory, match="huge does not fit"):
        cache.acquire("huge")
    assert not cache._shelves


@pytest.mark.parametrize("act", ["acquire", "unload"])
def test_a_model_in_use_stays_until_it_is_released(act: str) -> None:
    cache = ModelCache(ScarceMemory(room=9), 0, 1, lambda models: None)
    cache.acquire("a")
    done = threading.Event()
    steps = {"acquire": lambda: cache.acquire("b"), "unload": lambda: cache.unload("a")}
    thread = threading.Thread(target=lambda: (steps[act](), done.set()))
    thread.start()
    assert not done.wait(0.05)
    assert list(cache._shelves) == ["a"]
    cache.release("a")
    thread.join(10)
    assert done.is_set()
    assert "a" not in cache._shelves


async def test_who_has_an_answer_finds_what_it_did_to_the_caches(start_pool: StartPool) -> None:
    pool = await start_pool()
    assert pool.status().workers[0].caches == ()
    for runs in (1, 2):
        await pool.run(job())
        assert pool.status().workers[0].caches == (CacheStatus("runs", 0, runs, 0, 3, 100, 1000),)
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    await pool.alive_change(1)
    assert pool.status().workers[0].caches == ()


async def test_a_batch_whose_model_is_dropped_meanwhile_gets_the_time_of_a_load(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    await pool.run(job(model="m"))
    (slot,) = pool._slots
    running = submit(pool, job(model="m", item=FakeItem(gate=str(gate))))[0]
    await gate.reached()
    (batch,) = slot.berth.batches.values()
    assert batch.began_at is not None
    slot.on_messages([Models(())])
    assert batch.began_at is None
    slot.on_messages([Models((LoadedModel("m", 1, ()),))])
    assert batch.began_at is not None
    gate.let_through()
    await running


async def test_a_model_that_made_room_is_gone_while_the_next_one_loads(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(max_models=1), make_gate()
    await pool.run(job(model="m"))
    running = submit(pool, job(model=f"gated:{gate}"))[0]
    await gate.reached()
    # The answer to a question comes after all that the worker said before it was at the gate.
    assert await pool.unload("another") == 0
    assert loaded(pool) == [[]]
    gate.let_through()
    await running
