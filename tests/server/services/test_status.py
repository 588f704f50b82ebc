"""What GetStatus says of workers and their GPUs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from featsvc.pool.contract.status import GpuStatus, PoolStatus, WorkerState, WorkerStatus
from featsvc.server.pictures.store import PictureStore
from featsvc.server.services.drain import Drain
from featsvc.server.services.model import ModelService
from featsvc.settings.computing import Weights
from featsvc.v1 import model_pb2
from featsvc.work.caller import OWNER, Caller, Role


def worker(id: int, device: str, state: WorkerState, gpu: GpuStatus | None = None) -> WorkerStatus:
    """One that has done nothing yet."""
    return WorkerStatus(
        id, 1, device, state, (), (), batches=0, items=0, restarts=0, gpu=gpu, machine="10.0.0.2"
    )


async def answered(workers: tuple[WorkerStatus, ...], roles: frozenset[Role]) -> model_pb2.GetStatusResponse:
    """What the service says of them to a caller with these roles."""
    pool: Any = SimpleNamespace(status=lambda: PoolStatus(workers, 0, 0, 0))  # Any: a pool that has only this
    call: Any = SimpleNamespace(caller=Caller("key 0", roles))
    service = ModelService(pool, Weights(offline=True), PictureStore(0), Drain(0))
    status: model_pb2.GetStatusResponse = await service.GetStatus(model_pb2.GetStatusRequest(), call)
    return status


async def test_gpus_are_counted_where_workers_live_and_told_with_their_memory_and_use() -> None:
    gpu = GpuStatus("a GPU", "9e1c", total_bytes=1000, free_bytes=400, utilization_percent=0)
    workers = (
        worker(0, "cuda:0", WorkerState.READY, gpu),
        worker(1, "cuda:0", WorkerState.BUSY, gpu),
        worker(2, "cuda:1", WorkerState.DEAD),
        worker(3, "cuda:2", WorkerState.FAILED),
        worker(4, "cpu", WorkerState.READY),
    )
    status = await answered(workers, OWNER)
    assert status.gpu_count == 1
    told = model_pb2.Gpu(name="a GPU", uuid="9e1c", size_bytes=1000, free_bytes=400, utilization_percent=0)
    assert [each.gpu for each in status.workers if each.HasField("gpu")] == [told, told]


async def test_who_may_see_all_is_told_the_machine_of_a_worker() -> None:
    workers = (worker(0, "cpu", WorkerState.READY),)
    told: tuple[tuple[Role, str], ...] = (("status", "10.0.0.2"), ("admin", "10.0.0.2"), ("infer", ""))
    for role, machine in told:
        status = await answered(workers, frozenset((role,)))
        assert [each.machine for each in status.workers] == [machine]


async def test_no_thread_but_the_event_loops_asks_the_pool_how_it_is() -> None:
    loop_thread = threading.get_ident()

    def status() -> PoolStatus:
        assert threading.get_ident() == loop_thread, "the pool changes meanwhile"
        return PoolStatus((), 0, 0, 0)

    async def done(model: str) -> None:
        """Nothing to do."""

    pool: Any = SimpleNamespace(status=status, load=done, unload=done)  # Any: a pool that has only these
    call: Any = SimpleNamespace(caller=Caller("key 0", OWNER))
    service = ModelService(pool, Weights(offline=True), PictureStore(0), Drain(0))
    assert (await service.ListModels(model_pb2.ListModelsRequest(), call)).models
    loaded = await service.LoadModel(model_pb2.LoadModelRequest(key="demo-clip"), call)
    unloaded = await service.UnloadModel(model_pb2.UnloadModelRequest(key="demo-clip"), call)
    assert (loaded.model.key, unloaded.model.key) == ("demo-clip", "demo-clip")
