"""What is known of a worker: what it says of itself, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.pool.contract.messages import WorkerCaches, WorkerGpu, WorkerModels, WorkerReady
from featsvc.pool.contract.status import (
    CacheStatus,
    FailedModel,
    GpuStatus,
    LoadedModel,
    WorkerState,
    WorkerStatus,
)
from featsvc.pool.contract.worker import Description


@dataclass
class Record:
    """Of one worker, over all its restarts."""

    starts: int = 0
    batches: int = 0
    items: int = 0
    models: tuple[LoadedModel, ...] = ()
    failed_models: tuple[FailedModel, ...] = ()
    caches: tuple[CacheStatus, ...] = ()
    gpu: GpuStatus | None = None
    precision: str = ""
    """Of its device, which the next process has too."""

    def note(self, message: WorkerModels | WorkerCaches | WorkerGpu) -> None:
        """The worker says how it is now."""
        match message:
            case WorkerModels():
                self.models, self.failed_models = message.models, message.failed
            case WorkerCaches():
                self.caches = message.caches
            case WorkerGpu():
                self.gpu = message.gpu

    def ready(self, message: WorkerReady) -> list[str]:
        """The worker takes work; returns which models it should have and has not."""
        self.precision = message.precision
        return [model.name for model in self.failed_models]

    def forget(self) -> None:
        """The process has gone, and with it what it said."""
        self.models, self.failed_models, self.caches, self.gpu = (), (), (), None

    def status(self, id: int, process: Description, device: str, state: WorkerState) -> WorkerStatus:
        """All of it."""
        return WorkerStatus(
            id=id,
            pid=process.pid,
            device=device,
            state=state,
            models=self.models,
            failed_models=self.failed_models,
            batches=self.batches,
            items=self.items,
            restarts=max(0, self.starts - 1),
            caches=self.caches,
            gpu=self.gpu,
            precision=self.precision,
            machine=process.machine,
        )
