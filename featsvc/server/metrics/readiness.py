"""Whether the gateway should get requests, and in words what it lacks. Being alive is another matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from featsvc.pool.contract.status import PoolStatus, WorkerState, WorkerStatus

WORDS = {
    WorkerState.STARTING: "starts",
    WorkerState.DEAD: "has died and is started again",
    WorkerState.FAILED: "cannot start, as the log says, and is tried again",
}


def told(states: Mapping[str, bool], pool: PoolStatus) -> dict[str, object]:
    """What /readyz says: `states` are those of grpc.health.v1, of which the one without a name is the server's."""
    return {
        "status": "ready" if states[""] else "not ready",
        "problems": list(_problems(states, pool)),
        "services": {
            name: "serving" if is_serving else "not serving" for name, is_serving in states.items() if name
        },
        "workers": {"alive": pool.alive, "all": len(pool.workers)},
    }


def _problems(states: Mapping[str, bool], pool: PoolStatus) -> Iterator[str]:
    if not states[""] and pool.alive:
        yield "the server is shutting down"
    for worker in pool.workers:
        if not worker.is_alive:
            yield f"worker {worker.id} on {worker.device} {WORDS[worker.state]}{_restarts(worker)}"
        for model in worker.failed_models:
            yield f"worker {worker.id}: {model.name} should be loaded and cannot: {model.reason}"


def _restarts(worker: WorkerStatus) -> str:
    return f" (restarts so far: {worker.restarts})" if worker.restarts else ""
