"""The GPU, real or pretended, with what sections do on it: engines, seconds, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from featsvc.catalog.choice import DEMO
from featsvc.engines.registry import Engines
from featsvc.work.item import PictureItem
from tests.bench.pictures import photo, shapes
from tests.engines import models
from tests.engines.pretended.cuda import PretendCuda
from tests.gpu.conditions import DEVICE, MIB, Conditions
from tests.gpu.rows import Figures
from tests.gpu.weights import MEASURED, make

THREADS = 8
ANCHORED = ("H100", "H200")
"""Cards of which other systems have told how fast they are."""
WARM_UP = 3


@dataclass(frozen=True)
class Stand(Conditions):
    """What a section with torch works on."""

    @classmethod
    def of(cls, conditions: Conditions) -> Stand:
        """The GPU of a section, which has used nothing of it."""
        return cls(conditions.folder, conditions.dry)

    @cached_property
    def cuda(self) -> PretendCuda:
        """The pretended GPU of a trial."""
        return PretendCuda(count=1)

    @property
    def models(self) -> Mapping[str, str]:
        """Keys of the models that are measured, by family."""
        return DEMO if self.dry else MEASURED

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block this thread may use the GPU."""
        if not self.dry:
            yield
            return
        with self.cuda.installed(), self.cuda.at_work():
            yield

    def engines(self, **changes: Any) -> Engines:
        """Engines on the GPU."""
        return models.engines(**{**self._options, "device": DEVICE, **changes})

    @property
    def _options(self) -> Mapping[str, object]:
        if self.dry:
            return {}
        make(self.weights)
        return {"weights_dir": str(self.weights), "threads": THREADS}

    def seconds(self, act: Callable[[], object], during_s: float = 1.0, warm_up: int = WARM_UP) -> float:
        """The median of what a call takes until the device is done; a trial asks once."""
        for _ in range(0 if self.dry else warm_up):
            act()
        self._wait()
        taken: list[float] = []
        until = time.monotonic() + (0 if self.dry else during_s)
        while not taken or time.monotonic() < until:
            began = time.monotonic()
            act()
            self._wait()
            taken.append(time.monotonic() - began)
        return statistics.median(taken)

    def _wait(self) -> None:
        if not self.dry:  # a pretended device has done what it was asked
            torch.cuda.synchronize()

    @property
    def is_anchored(self) -> bool:
        """Whether this is a card of which other systems have told figures."""
        return not self.dry and any(each in torch.cuda.get_device_name() for each in ANCHORED)

    @property
    def slack(self) -> int:
        """Bytes of the device that libraries may take for themselves at their first use."""
        return MIB if self.dry else 64 * MIB

    def allocated(self) -> int:
        """Bytes of this process's tensors on the device."""
        return self.cuda.live[DEVICE] if self.dry else torch.cuda.memory_allocated()

    def memory(self) -> Figures:
        """MiB that this process's tensors take, that it holds of the device, and that all processes do."""
        figures = {"allocated_mib": self.allocated() / MIB}
        if not self.dry:
            free, total = torch.cuda.mem_get_info()
            figures |= {
                "reserved_mib": torch.cuda.memory_reserved() / MIB,
                "in_use_mib": (total - free) / MIB,
            }
        return figures

    @contextmanager
    def limited(self, more: int) -> Iterator[None]:
        """Within the block this process may take so many bytes beside what it has taken."""
        if self.dry:
            self.cuda.capacity = self.allocated() + more
        else:
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(
                min((torch.cuda.memory_reserved() + more) / total, 1.0)
            )
        try:
            yield
        finally:
            self.cuda.capacity = None
            if not self.dry:
                torch.cuda.set_per_process_memory_fraction(1.0)

    def item(self, width: int, height: int, seed: int = 0) -> PictureItem:
        """A picture as its models know them, under a name by which what is made of it is kept."""
        draw = shapes if self.dry else photo
        return PictureItem(draw(width, height, seed), digest=f"sha256:{width}x{height}:{seed}")
