"""The engines of a worker on a pretended GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featsvc.engines.running.family import Loaded
from featsvc.settings.kinds import AnyPrecision
from featsvc.work.results import Result
from tests.engines import models
from tests.engines.pretended.cases import Case, answers, every_model
from tests.engines.pretended.cuda import PretendCuda

DEVICE = "cuda:1"
"""Not the current one, which is what torch takes where nobody names one."""


class PretendedWorker:
    """Its engines and the demo models. Other tests of the process see no GPU."""

    def __init__(
        self,
        device: str = DEVICE,
        precision: AnyPrecision = "fp32",
        capacity: int | None = None,
        **options: Any,
    ) -> None:
        self.cuda = PretendCuda(capacity=capacity)
        with self.at_work():
            self.engines = models.engines(device=device, precision=precision, **options)
            self.loaded = every_model(self.engines)

    def answers(self, case: Case, loaded: Loaded | None = None) -> list[Result]:
        """Results of a case; what was counted before is forgotten."""
        self.cuda.forget()
        with self.at_work():
            return answers(self.engines, case, loaded or self.loaded[case.models])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block torch says that there are GPUs, and this thread may use them."""
        with self.cuda.installed(), self.cuda.at_work():
            yield
