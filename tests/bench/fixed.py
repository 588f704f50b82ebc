"""Engines that answer at once: for rows that are about the wire and the gateway, not about a network."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featsvc.pool.contract.engine_protocol import WorkerEngines
from featsvc.work.item import Item
from featsvc.work.operations import ENCODE_TEXT
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features, Geometry, TextEmbeddings

ROWS, COLUMNS, CHANNELS = 128, 128, 1024


@cache
def features() -> NDArray[np.float32]:
    """64 MiB of random features, ROWS x COLUMNS x CHANNELS: the same on every side."""
    return np.random.default_rng(0).standard_normal((ROWS, COLUMNS, CHANNELS), np.float32)


@cache
def quarter() -> NDArray[np.float32]:
    """16 MiB of them."""
    return features()[: ROWS // 2, : COLUMNS // 2].copy()


@dataclass(frozen=True)
class FixedModel:
    """Stands for a model."""

    nbytes: int = 1
    keys: tuple[str, ...] = ("fixed",)


class FixedEngines:
    """Satisfies featsvc.pool.contract.engine_protocol.WorkerEngines. `answered` are the features that it answers."""

    precision = "fp32"

    def __init__(self, answered: NDArray[np.float32]) -> None:
        self._answered = answered

    def load(self, model: str) -> FixedModel:
        """Any name will do."""
        return FixedModel()

    def together(self, models: list[Any]) -> Any:  # Any: as the engines' own
        """The first: none of these answers together with others."""
        return models[0]

    def may_take_long(self, item: Item) -> bool:
        """Nothing is decoded."""
        return False

    def prepare(
        self,
        operation: str,
        item: Item,
        params: object,
        loaded: FixedModel,
        wanted: Callable[[], bool],
    ) -> Item:
        """Nothing to decode."""
        return item

    def batch_key(self, prepared: Item) -> Hashable:
        """All are alike."""
        return ()

    def pixels(self, prepared: Item) -> int:
        """They cost nothing."""
        return 1

    def flop(self, prepared: Item) -> float:
        """Nor do they take any arithmetic."""
        return 0

    def device(self) -> None:
        """None that is known."""

    def give_back(self) -> int:
        """Nothing is held."""
        return 0

    def trim(self) -> None:
        """As above."""

    def caches(self) -> tuple[()]:
        """There is nothing to cache."""
        return ()

    # Any: the results are those of the engines proper.
    def run(
        self, operation: str, prepared: list[Item], params: object, loaded: object, wanted: Callable[[], bool]
    ) -> list[Any]:
        """The fixed features, or a fixed embedding."""
        if operation == ENCODE_TEXT.rpc:
            return [TextEmbeddings(features()[0, :1, :512]) for _ in prepared]
        rows, columns, _ = self._answered.shape
        height, width = 14 * rows, 14 * columns
        geometry = Geometry(14, 14, height, width, 0, 0, height, width, rows, columns)
        return [Features(self._answered, False, geometry) for _ in prepared]


def build(options: EngineOptions) -> WorkerEngines:
    """The engines of a worker."""
    return FixedEngines(features())


def build_quarter(options: EngineOptions) -> WorkerEngines:
    """Those that answer a quarter of the features, 16 MiB."""
    return FixedEngines(quarter())
