"""The settings of the pool and of its engines, and the devices of this machine, found without torch."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which

from featsvc.catalog import entry_of
from featsvc.errors import InvalidArgument
from featsvc.pool.contract.settings import PoolSettings
from featsvc.settings.environment import visible_gpus
from featsvc.settings.sources import part
from featsvc.settings.tree import GatewaySettings
from featsvc.work.options import EngineOptions

DEVICE = re.compile(r"(cpu|cuda:\d+|mps)")
LONGEST_QUERY_S = 10


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
    return PoolSettings(
        devices=devices(settings.devices),
        workers_per_device=settings.workers_per_device,
        engine_options=options,
        threads=settings.threads,
        max_batch_items=settings.max_batch,
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
        quarantine_s=settings.quarantine,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def devices(text: str) -> tuple[str, ...]:
    """The device of each slot: `auto` takes every GPU, or else the CPU; `cpu:2` is two slots on the CPU."""
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
            raise InvalidArgument(f"devices: {each.strip()!r} is none of auto, cpu, cpu:2, cuda:0 …")
        slots += [match[1]] * count
    return tuple(slots)


def _gpus() -> int:
    """GPUs that the driver shows; asking torch would bring it into the gateway."""
    program = which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=LONGEST_QUERY_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return 0
    present = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    visible = visible_gpus()
    if visible is None:
        return present
    # torch numbers the visible ones from 0.
    return min(present, sum(each.strip() not in ("", "-1", "NoDevFiles") for each in visible.split(",")))
