"""Engines of a worker process whose GPU is pretended: for a whole server without one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import torch

from featsvc.engines import registry
from featsvc.work.options import EngineOptions
from tests.engines.pretended.cuda import PretendCuda

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


def build(options: EngineOptions) -> PretendedEngines:
    """The engines of this process, which has two GPUs."""
    cuda = PretendCuda(count=2)
    installed = cuda.installed()
    installed.__enter__()
    torch._C._set_only_lift_cpu_tensors(True)  # one for all threads, which come and go
    with cuda.at_work():
        made = registry.build(options)
    return PretendedEngines(made.options, made.families, made.kept, made.joint, cuda, installed)
