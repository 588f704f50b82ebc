"""Engines of a worker process whose GPU is pretended: for a whole server without one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from pydantic import BaseModel

from featsvc.engines import registry
from featsvc.engines.running.family import Loaded, Prepared
from featsvc.work.item import Item
from featsvc.work.options import EngineOptions
from featsvc.work.results import Result
from tests.engines.pretended.cuda import PretendCuda


@dataclass(frozen=True)
class PretendedEngines(registry.Engines):
    """The engines, which give their device to the thread that asks them."""

    cuda: PretendCuda
    installed: AbstractContextManager[PretendCuda]
    """Held for the life of the process."""

    def prepare(
        self,
        operation: str,
        item: Item,
        params: BaseModel,
        loaded: Loaded,
        wanted: Callable[[], bool] = registry._always,
    ) -> Prepared:
        """As the engines; what goes to the device is put where it is copied from."""
        with self.cuda.at_work():
            return super().prepare(operation, item, params, loaded, wanted)

    def load(self, model: str) -> Loaded:
        """As the engines."""
        with self.cuda.at_work():
            return super().load(model)

    def run(
        self,
        operation: str,
        prepared: list[Prepared],
        params: BaseModel,
        loaded: Loaded,
        wanted: Callable[[], bool] = registry._always,
    ) -> list[Result]:
        """As the engines; the answers lie on the CPU."""
        with self.cuda.at_work():
            results = super().run(operation, prepared, params, loaded, wanted)
        assert set(self.cuda.touched) == {self.options.device}, self.cuda.touched
        return results


def build(options: EngineOptions) -> PretendedEngines:
    """The engines of this process, which has two GPUs."""
    cuda = PretendCuda(count=2)
    installed = cuda.installed()
    installed.__enter__()
    torch._C._set_only_lift_cpu_tensors(True)  # one for all threads, which come and go
    with cuda.at_work():
        made = registry.build(options)
    return PretendedEngines(made.options, made.families, made.kept, cuda, installed)
