"""Engines whose pictures are little programs, such as b"say 3"; they run under the real pool and gateway."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featsvc.errors import ReplyTooLarge, WeightsMissing, invalid_field
from featsvc.pool.contract.engine_protocol import WorkerEngines
from featsvc.v1.schema import FeatureDType
from featsvc.work.item import Item, PictureItem, TextItem, pictures_of
from featsvc.work.operations import EMBED_IMAGE, ENCODE_TEXT, GENERATE_MASKS, PREDICT_MASKS
from featsvc.work.options import EngineOptions
from featsvc.work.results import (
    Bits,
    EmbeddedImage,
    Features,
    Geometry,
    Mask,
    MaskList,
    PromptMasks,
    PromptResults,
    Rounding,
    TextEmbeddings,
)
from tests.pool.fakes import wait_at

GEOMETRY = Geometry(16, 16, 32, 48, 0, 0, 32, 48, 2, 3)


BITS = Bits(np.array([[0b10100000], [0b01000000]], np.uint8), (2, 3))
RECTANGLE = (0.0, 0.0, 3.0, 2.0)


def _prompted(argument: bytes) -> PromptResults:
    ious = np.array([float(argument or 0)], np.float32)
    masks = PromptMasks(Bits(BITS.data[None], (1, 2, 3)), ious, np.zeros((1, 2, 2), np.float32))
    return PromptResults((masks,), 2, 3)


def _found(argument: bytes) -> MaskList:
    """As many masks as the picture says, told apart by their areas."""
    masks = tuple(
        Mask(BITS, area, RECTANGLE, 0.9, ((1.0, 1.0),), 0.8, RECTANGLE) for area in range(int(argument or 1))
    )
    return MaskList(masks, 2, 3)


def _said(item: PictureItem) -> float:
    """The number of b"say 3"; 0 for other programs."""
    word, _, argument = item.image.partition(b" ")
    return float(argument) if word == b"say" else 0.0


MASKS: dict[str, Callable[[bytes], object]] = {
    PREDICT_MASKS.rpc: _prompted,
    GENERATE_MASKS.rpc: _found,
    EMBED_IMAGE.rpc: lambda argument: EmbeddedImage(1000, True, 2, 3),
}


@dataclass(frozen=True)
class FakeModel:
    name: str
    nbytes: int = 1000

    @property
    def keys(self) -> tuple[str, ...]:
        return (f"clip_{self.name}_fake",)


class FakeEngines:
    """Satisfies featsvc.pool.contract.engine_protocol.WorkerEngines."""

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def load(self, model: str) -> FakeModel:
        if model == "ViT-B-16/openai":
            raise WeightsMissing("ViT-B-16/openai: put ViT-B-16_openai.safetensors into --weights-dir")
        return FakeModel(model)

    def together(self, models: list[Any]) -> Any:  # Any: as the engines' own
        """The first: none of these answers together with others."""
        return models[0]

    def may_take_long(self, item: Item) -> bool:
        return False

    def prepare(
        self, operation: str, item: Item, params: Any, loaded: FakeModel, wanted: Callable[[], bool]
    ) -> Item:
        return item

    def batch_key(self, prepared: Item) -> Hashable:
        return ()

    def pixels(self, prepared: Item) -> int:
        return 1

    def flop(self, prepared: Item) -> float:
        return 0.0

    def device(self) -> None:
        """None that is known."""

    def give_back(self) -> int:
        return 0

    def trim(self) -> None:
        pass

    def caches(self) -> tuple[()]:
        return ()

    def run(
        self, operation: str, prepared: list[Item], params: Any, loaded: FakeModel, wanted: Callable[[], bool]
    ) -> list[object]:
        return [self._answer(operation, item) for item in prepared]

    def _answer(self, operation: str, item: Item) -> object:
        if operation == ENCODE_TEXT.rpc:
            assert isinstance(item, TextItem)
            return TextEmbeddings(np.ones((len(item.texts.text), 4), np.float32))
        assert isinstance(item, PictureItem)
        word, _, argument = item.image.partition(b" ")
        if word == b"defect":
            raise ValueError("/secret/path")
        if word == b"large":
            raise ReplyTooLarge("features: 99 bytes, at most 9; ask for ret_patches")
        if word == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"block":
            wait_at(argument.decode())
        if word == b"broken":
            raise invalid_field("image", "is no picture")
        if operation in MASKS:
            return MASKS[operation](argument)
        if word == b"wide":
            return Features(
                np.arange(int(argument) << 18, dtype=np.float32).reshape(-1, 8, 8), False, GEOMETRY
            )
        if word == b"rounded":
            rounding = Rounding(0.5, 0.25, np.array([2.0], np.float32))
            return Features(
                np.full((2, 3, 1), 0x3F80, np.uint16), False, GEOMETRY, FeatureDType.BFLOAT16, rounding
            )
        if word == b"bytes":
            return Features(np.zeros(int(argument) // 4, np.float32), False, GEOMETRY)
        value = sum(map(_said, pictures_of(item)))
        return Features(np.full((2, 3, 4), value, np.float32), False, GEOMETRY)


def build(options: EngineOptions) -> WorkerEngines:
    return FakeEngines("fp32" if options.device == "cpu" else "bf16")
