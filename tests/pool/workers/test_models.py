"""Models in the memory of workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from featsvc.errors import FeatsvcError, InvalidArgument, WeightsMissing
from featsvc.pool.contract.messages import WorkerModels
from featsvc.pool.contract.status import CacheStatus, LoadedModel
from featsvc.pool.workers.pool import WorkerPool
from tests.pool.conftest import Journal, MakeGate, StartPool, all_alive, kill
from tests.pool.fakes import FakeItem
from tests.pool.jobs import job, submit, submitted


def loaded(pool: WorkerPool) -> list[list[str]]:
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
    failed = pool.status().workers[0].failed_models
    assert [(model.name, model.reason) for model in failed] == [("missing", "missing: no weights here")]


async def test_weights_that_are_lost_are_told_until_they_are_there_again(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool, weights = await start_pool(), tmp_path / "weights"
    known = await pool.news()
    model = f"file:{weights}"
    with pytest.raises(WeightsMissing):
        await pool.load(model)
    assert pool.status().workers[0].failed_models == (), "nobody could expect it to be here"
    weights.touch()
    await pool.load(model)
    await pool.unload(model)
    weights.unlink()
    with pytest.raises(WeightsMissing):
        await pool.run(job(model=model))
    known = await pool.news(known)
    assert [failed.name for failed in pool.status().workers[0].failed_models] == [model]
    weights.touch()
    await pool.run(job(model=model))
    await pool.news(known)
    assert pool.status().workers[0].failed_models == ()


async def test_a_restarted_worker_preloads_again_and_forgets_the_rest(start_pool: StartPool) -> None:
    pool = await start_pool(preload=("a",))
    await pool.load("b")
    kill(pool)
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


async def test_a_model_that_goes_is_given_to_no_other_batch_and_holds_up_no_other_model(
    start_pool: StartPool, make_gate: MakeGate, tmp_path: Path, journal: Journal
) -> None:
    pool, gate, end = await start_pool(preload=("m", "other")), make_gate(), tmp_path / "end"
    item = FakeItem(str(end), "compute until it is there", gate=str(gate), flop=1e13)
    running = submit(pool, job(item=item))[0]
    await gate.reached()
    gate.let_through()
    await asyncio.wait_for(pool.run(job("beside", model="other")), 60)
    unload = asyncio.create_task(pool._workers[0].unload("m"))
    await asyncio.sleep(0)  # it is sent at its first step, and so before what follows
    again, load = submit(pool, job("again"))[0], asyncio.create_task(pool.load("m"))
    for number in range(4):
        assert (await asyncio.wait_for(pool.run(job(number, model="other")), 60)).value == number
    await asyncio.wait_for(pool.load("a third"), 60)
    assert not any(each.done() for each in (running, unload, again, load))
    end.touch()
    assert (await running).value == str(end)
    assert await unload
    assert (await again).value == "again"
    await load
    assert loads(journal) == ["m", "other", "a third", "m"]
    assert pool.status().workers[0].restarts == 0


async def test_a_job_goes_to_the_worker_that_has_its_model(start_pool: StartPool) -> None:
    pool = await start_pool(devices=("cpu", "cpu"))
    await pool.load("a", worker=1)
    await pool.load("b", worker=0)
    pids = [worker.pid for worker in pool.status().workers]
    for model, pid in (("a", pids[1]), ("b", pids[0])) * 3:
        assert (await pool.run(job(model=model))).pid == pid


async def test_who_has_an_answer_finds_what_it_did_to_the_caches(start_pool: StartPool) -> None:
    pool = await start_pool()
    assert pool.status().workers[0].caches == ()
    for runs in (1, 2):
        await pool.run(job())
        assert pool.status().workers[0].caches == (CacheStatus("runs", 0, runs, 0, 3, 100, 1000),)
    kill(pool)
    await pool.alive_change(1)
    assert pool.status().workers[0].caches == ()


async def test_a_batch_whose_model_is_dropped_meanwhile_gets_the_time_of_a_load(
    start_pool: StartPool, make_gate: MakeGate
) -> None:
    pool, gate = await start_pool(slots=1), make_gate()
    await pool.run(job(model="m"))
    (worker,) = pool._workers
    running = submit(pool, job(model="m", item=FakeItem(gate=str(gate))))[0]
    await gate.reached()
    (batch,) = pool._scheduler.in_flight(0).batches.values()
    assert batch.began_at is not None
    worker.on_messages([WorkerModels(())])
    assert batch.began_at is None
    worker.on_messages([WorkerModels((LoadedModel("m", 1, ()),))])
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
