"""What a worker tells of its GPU: when it is ready, and then whenever that has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields

from featsvc.pool.contract.engine_protocol import WorkerEngines
from featsvc.pool.contract.messages import WorkerGpu
from featsvc.pool.contract.status import GpuStatus

GPU_NEWS_S = 1.0
"""Between two looks."""


class GpuNews:
    """How the GPU of some engines is, if they have one."""

    def __init__(self, engines: WorkerEngines) -> None:
        self._engines = engines
        self._told = self._now()

    @property
    def first(self) -> tuple[WorkerGpu, ...]:
        """What there is to tell at the beginning; nothing of another device."""
        return () if self._told is None else (WorkerGpu(self._told),)

    def tell(self, send: Callable[[WorkerGpu], None]) -> None:
        """Tells what has changed, for ever: also during a long batch, and where there is none."""
        while True:
            time.sleep(GPU_NEWS_S)
            now = self._now()
            if now is not None and now != self._told:
                self._told = now
                send(WorkerGpu(now))

    def _now(self) -> GpuStatus | None:
        device = self._engines.device()
        if device is None:
            return None
        return GpuStatus(**{field.name: getattr(device, field.name) for field in fields(GpuStatus)})
