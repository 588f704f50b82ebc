"""Engines of a worker process whose GPU is pretended: for a whole server without one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import torch

from featsvc.engines import registry
from featsvc.engines.running.cache import CacheStats
from featsvc.work.options import EngineOptions
from tests.engines.pretended.cuda import PretendCuda

CAPACITY = "PRETENDED_CAPACITY"
"""The variable with the bytes of each GPU; without it they have room."""
MEMORY = "memory"
"""What stands among the caches for the memory of the device: its bytes are what is held, its misses how often it ran
out."""
P = ParamSpec("P")
T = TypeVar("T")


def _at_work(
    method: Callable[Concatenate[registry.Engines, P], T],
) -> Callable[Concatenate[PretendedEngines, P], T]:
    """A method of the engines, by a thread that has their device meanwhile, and touches no other."""

    def act(engines: PretendedEngines, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with engines.cuda.at_work():
            answer = method(engines, *args, **kwargs)
        assert set(engines.cuda.touched) <= {engines.options.device}, engines.cuda.touched
        return answer

    return act


@dataclass(frozen=True)
class PretendedEngines(registry.Engines):
    """The engines, which give their device to the thread that asks them."""

    cuda: PretendCuda
    installed: AbstractContextManager[PretendCuda]
    """Held for the life of the process."""

    load = _at_work(registry.Engines.load)
    prepare = _at_work(registry.Engines.prepare)
    run = _at_work(registry.Engines.run)

    def caches(self) -> tuple[CacheStats, ...]:
        """Theirs, and the memory of the device."""
        held, lacks = (found[self.options.device] for found in (self.cuda.live, self.cuda.lacks))
        memory = CacheStats(MEMORY, 0, lacks, 0, 0, held, self.cuda.capacity or 0)
        return (*super().caches(), memory)


def build(options: EngineOptions) -> PretendedEngines:
    """The engines of this process, which has two GPUs."""
    cuda = PretendCuda(count=2, capacity=int(os.environ.get(CAPACITY, 0)) or None)
    installed = cuda.installed()
    installed.__enter__()
    torch._C._set_only_lift_cpu_tensors(True)  # one for all threads, which come and go
    with cuda.at_work():
        made = registry.build(options)
    return PretendedEngines(made.options, made.families, made.kept, made.joint, cuda, installed)
