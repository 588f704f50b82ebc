"""The settings of the pool, as one worker gets them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from featsvc.pool.messages import Boot
from featsvc.pool.settings import PoolSettings


def boot_of(worker: int, settings: PoolSettings) -> Boot:
    """First message to a worker."""
    s, device = settings, settings.worker_devices[worker]
    options: Any = s.engine_options  # a dataclass of the engines with these two fields
    if options is not None:
        options = replace(options, device=device, threads=s.threads_per_worker)
    return Boot(
        worker=worker,
        device=device,
        engines=s.engines,
        engine_options=options,
        prepare_threads=s.prepare_threads,
        max_batch_pixels=s.max_batch_pixels,
        preload=s.preload,
        model_memory_bytes=s.model_memory_bytes,
        max_models=s.max_models,
        log_level=s.log_level,
        log_setup=s.log_setup,
    )
