"""The settings of the pool and of its engines, and the devices of this machine, found without torch."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

from featsvc.catalog import entry_of
from featsvc.errors import InvalidArgument
from featsvc.pool.contract.settings import PoolSettings, Share
from featsvc.settings.sources import part
from featsvc.settings.tree import GatewaySettings
from featsvc.work.options import EngineOptions

DEVICE = re.compile(r"(cpu|cuda:(?:0|[1-9]\d*)|mps|(?:GPU|MIG)-[\w/-]+)")
ASK_DRIVER = (sys.executable, "-P", "-m", "featsvc.server.config.driver")
LONGEST_LOOK_S = 60
"""Of eight GPUs that nobody has used lately a driver needs several seconds."""
CPU_BATCH, GPU_BATCH = 8, 32
"""Most requests in one batch: a CPU gains nothing by more, and few pictures do not fill a GPU."""
log = logging.getLogger("featsvc.server.config.devices")


def engine_options(settings: GatewaySettings) -> EngineOptions:
    """What each worker tells its engines; the pool fills device and threads in.

    Raises InvalidArgument where the folder of weights is not there: everything in it would count as missing.
    """
    if settings.weights_dir and not Path(settings.weights_dir).is_dir():
        raise InvalidArgument(f"weights_dir: {settings.weights_dir} is no folder (--weights-dir)")
    return part(settings, EngineOptions)


def pool_settings(settings: GatewaySettings, options: EngineOptions) -> PoolSettings:
    """The pool's part of the settings. Raises NotFound for an unknown model to preload, InvalidArgument for devices."""
    for key in settings.preload:
        entry_of(key)
    if settings.pool == "ray":
        share = share_of(settings)
        found, per_device, most_workers = (
            (share.device,) * settings.ray_workers.least,
            1,
            settings.ray_workers.most,
        )
        threads, prepare_threads = share.threads, 2 if share.device == "cpu" else max(2, share.threads)
    else:
        found, per_device, most_workers = devices(settings.devices), settings.workers_per_device, 0
        threads = prepare_threads = 0
    return PoolSettings(
        devices=found,
        workers_per_device=per_device,
        most_workers=most_workers,
        backlog_s=settings.worker_backlog,
        idle_s=settings.worker_idle,
        engine_options=options,
        threads=settings.threads or threads,
        prepare_threads=settings.prepare_threads or prepare_threads,
        worker_template=settings.worker_template,
        slots=settings.slots,
        max_batch_items=settings.max_batch or (CPU_BATCH if set(found) == {"cpu"} else GPU_BATCH),
        max_batch_pixels=settings.max_batch_pixels,
        max_batch_bytes=settings.max_batch_bytes,
        max_concurrency=settings.max_concurrency,
        max_queued=settings.max_queue,
        max_queued_bytes=settings.max_queue_bytes,
        preload=settings.preload,
        model_memory_bytes=settings.model_memory,
        max_models=settings.max_models,
        batch_timeout_s=settings.batch_timeout,
        load_timeout_s=settings.load_timeout,
        heartbeat_timeout_s=settings.heartbeat_timeout,
        give_back_after_s=settings.give_back_after,
        quarantine_s=settings.quarantine,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def share_of(settings: GatewaySettings) -> Share:
    """What a worker over Ray has of its machine."""
    return Share(settings.cpus_per_worker, settings.gpus_per_worker)


def devices(text: str) -> tuple[str, ...]:
    """The device of each slot: `auto` takes every GPU that CUDA shows, or else the CPU; `cpu:2` is two slots."""
    if text == "auto":
        return tuple(f"cuda:{index}" for index in range(_gpus())) or ("cpu",)
    slots: list[str] = []
    for each in text.split(","):
        name, count = each.strip(), 1
        if re.fullmatch(r"cpu:\d+", name):
            name, _, number = name.partition(":")
            count = int(number)
        match = DEVICE.fullmatch("cuda:0" if name == "cuda" else name)
        if match is None or not 1 <= count <= 256:
            raise InvalidArgument(
                f"devices: {each.strip()!r} is none of auto, cpu, cpu:2, cuda:0, GPU-UUID …"
            )
        slots += [match[1]] * count
    return tuple(slots)


def _gpus() -> int:
    """GPUs that CUDA's driver shows; asking torch would bring it into the gateway."""
    try:
        asked = subprocess.run(ASK_DRIVER, capture_output=True, text=True, timeout=LONGEST_LOOK_S, check=True)
        answer = json.loads(asked.stdout)
    except subprocess.TimeoutExpired:
        answer = {"problem": f"it has not answered within {LONGEST_LOOK_S} s"}
    except (subprocess.SubprocessError, OSError, json.JSONDecodeError) as error:
        answer = {"problem": str(error)}
    if "problem" in answer:
        log.warning("CUDA's driver does not work, so --devices auto is the CPU: %s", answer["problem"])
        return 0
    for number, gpu in enumerate(answer["gpus"]):
        log.info("gpu", extra={"device": f"cuda:{number}", "gpu": gpu})
    return len(answer["gpus"])
