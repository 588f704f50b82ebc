"""What a page says of a machine with GPUs, and of more callers than are named."""

from __future__ import annotations

from featsvc.pool.contract.status import (
    CacheStatus,
    GpuStatus,
    OpenJobs,
    PoolStatus,
    WorkerState,
    WorkerStatus,
)
from featsvc.server.metrics import table
from featsvc.server.metrics.figures import CallerNames, Counters
from featsvc.server.metrics.state import Moment, families

EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"
GPUS = (
    GpuStatus("a GPU", "one", total_bytes=1000, free_bytes=400, utilization_percent=75),
    GpuStatus("a GPU", "two", total_bytes=1000, free_bytes=900),
)


def worker(number: int, device: str, gpu: GpuStatus, machine: str = "") -> WorkerStatus:
    return WorkerStatus(
        number, 1, device, WorkerState.READY, (), (),
        batches=0, items=0, restarts=0, gpu=gpu, machine=machine,
    )  # fmt: skip


WORKERS = (worker(0, "cuda:0", GPUS[0]), worker(1, "cuda:0", GPUS[0]), worker(2, "cuda:1", GPUS[1]))


def samples(
    *jobs: OpenJobs, workers: tuple[WorkerStatus, ...] = WORKERS
) -> dict[tuple[str, tuple[str, ...]], float]:
    """The values of a moment, by name and labels."""
    waiting = sum(each.waiting for each in jobs)
    pool = PoolStatus(workers, waiting, 0, 0, open_jobs=jobs)
    moment = Moment(pool, CacheStatus("pictures", 0, 0, 0, 0, 0, 0), {True: 0}, 0, 8, 8, is_ready=True)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families(moment, CallerNames(1))
        for sample in family.samples
    }


def test_a_gpu_is_told_once_however_many_workers_it_has_and_its_use_where_that_is_known() -> None:
    found = samples()
    told = {key: value for key, value in found.items() if key[0].startswith("featsvc_device_")}
    assert told == {
        ("featsvc_device_memory_bytes", ("cuda:0", "one")): 1000,
        ("featsvc_device_free_bytes", ("cuda:0", "one")): 400,
        ("featsvc_device_utilization_ratio", ("cuda:0", "one")): 0.75,
        ("featsvc_device_memory_bytes", ("cuda:1", "two")): 1000,
        ("featsvc_device_free_bytes", ("cuda:1", "two")): 900,
    }


def test_workers_of_several_machines_say_where_they_are_and_their_gpus_are_told_apart() -> None:
    found = samples(
        workers=(worker(0, "cuda:0", GPUS[0], "10.0.0.1"), worker(1, "cuda:0", GPUS[1], "10.0.0.2"))
    )
    told = {key for key in found if key[0] in ("featsvc_worker_info", "featsvc_device_free_bytes")}
    assert told == {
        ("featsvc_worker_info", ("0", "10.0.0.1", "one")),
        ("featsvc_worker_info", ("1", "10.0.0.2", "two")),
        ("featsvc_device_free_bytes", ("cuda:0", "one")),
        ("featsvc_device_free_bytes", ("cuda:0", "two")),
    }


def test_callers_beyond_those_that_are_named_are_summed_and_the_oldest_of_all_is_told() -> None:
    found = samples(
        OpenJobs(EXTRACT, "m", "first", 1, 0, 2.5, 0),
        OpenJobs(EXTRACT, "m", "second", 2, 0, 7.5, 1),
        OpenJobs(EXTRACT, "m", "third", 4, 0, 1.0, 1),
        OpenJobs(EXTRACT, "m", "", 8, 0, 1.0, 0),
    )
    waiting = {key[1][2]: value for key, value in found.items() if key[0] == "featsvc_waiting_questions"}
    working = {key[1][2]: value for key, value in found.items() if key[0] == "featsvc_working_questions"}
    assert waiting == {"first": 1, "other": 6, "none": 8}
    assert working == {"first": 0, "other": 2, "none": 0}
    assert found["featsvc_queue_age_seconds", ()] == 7.5
    assert found["featsvc_queue_length", ()] == 15


def test_who_has_no_key_any_more_gives_way_to_who_comes_then() -> None:
    callers, calls = CallerNames(2), Counters(table.CALLS)
    callers.counted_in(calls)
    for name in ("first", "second", "third"):
        calls.values[EXTRACT, "OK", callers.label(name)] += 1
    callers.keys_changed({"second", "third"})
    assert [callers.label(name) for name in ("first", "third", "fourth")] == ["first", "third", "other"]
    assert {caller for _, _, caller in calls.values} == {"second", "other"}
