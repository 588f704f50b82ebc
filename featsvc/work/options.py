"""What a worker process tells its engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from featsvc.settings.computing import Caches, Limits, Networks, Weights


class Reader(Protocol):
    """Decodes pictures that may take long."""

    def read(
        self, content: bytes, upright: bool
    ) -> Any:  # Any: this module is imported where no picture is decoded
        """A `decoding.reading.Decoded`."""


class Card(Protocol):
    """Decodes pictures on a GPU."""

    def pixels(self, head: Any) -> Any:  # Any: as above
        """A picture of Pillow's of a `decoding.headers.Header`, or None where that is for the CPU."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Weights, Networks, Caches, Limits):
    """Device, and the settings that engines read."""

    device: str = "cpu"
    """"cpu", or a GPU as torch names it: "cuda:0"."""
    threads: int = 1
    reader: Reader | None = None
    """Who decodes what may take long; the engines of a worker have one."""
    card: Card | None = None
    """Who decodes on the device, where that is asked for."""
