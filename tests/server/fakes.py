"""Engines whose pictures are little programs, such as b"say 3"; they run under the real pool and gateway."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import Embeddings, Features, Geometry
from featsvc.errors import ReplyTooLarge, WeightsMissing
from tests.pool.fakes import wait_at

GEOMETRY = Geometry(16, 16, 32, 48, 0, 0, 32, 48, 2, 3)


@dataclass(frozen=True)
class FakeModel:
    name: str
    nbytes: int = 1000

    @property
    def keys(self) -> tuple[str, ...]:
        return (f"clip_{self.name}_fake",)


class FakeEngines:
    """Satisfies featsvc.pool.engine_protocol.Engines."""

    def load(self, model: str) -> FakeModel:
        if model == "ViT-B-16/openai":
            raise WeightsMissing("ViT-B-16/openai: put ViT-B-16_openai.safetensors into --weights-dir")
        return FakeModel(model)

    def prepare(self, operation: str, item: Item, params: Any, loaded: FakeModel) -> Item:
        return item

    def batch_key(self, prepared: Item) -> Hashable:
        return ()

    def pixels(self, prepared: Item) -> int:
        return 1

    def caches(self) -> tuple[()]:
        return ()

    def run(
        self, operation: str, prepared: list[Item], params: Any, loaded: FakeModel, wanted: Callable[[], bool]
    ) -> list[object]:
        return [self._answer(operation, item) for item in prepared]

    def _answer(self, operation: str, item: Item) -> object:
        if operation == "clip.encode_text":
            return Embeddings(np.ones((len(item.texts.text), 4), np.float32))
        word, _, argument = item.image.partition(b" ")
        if word == b"defect":
            raise ValueError("/secret/path")
        if word == b"large":
            raise ReplyTooLarge("features: 99 bytes, at most 9; ask for ret_patches")
        if word == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"block":
            wait_at(argument.decode())
        value = float(argument) if word == b"say" else 0.0
        return Features(np.full((2, 3, 4), value, np.float32), False, GEOMETRY)


def build(options: EngineOptions) -> FakeEngines:
    return FakeEngines()
