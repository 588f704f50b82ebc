"""Small odd files, each with the right RGB beside it, or the words that refuse it; tests.pictures.make made them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = Path(__file__).parent / "files"
INDEX = FILES / "index.json"


@dataclass(frozen=True)
class OddPicture:
    """A file, and what is right about it."""

    name: str
    tolerance: int = 0
    """Greatest difference of a colour from the right one: lossy decoders round in their own ways."""
    orientation: int = 1
    refused: str = ""
    """Words of the error, where there is one instead of a picture."""
    says: str = ""
    """Where the right colours come from."""

    @property
    def content(self) -> bytes:
        """The file."""
        return (FILES / self.name).read_bytes()

    @property
    def right(self) -> NDArray[np.uint8]:
        """The right colours as they are stored, H x W x 3."""
        right: NDArray[np.uint8] = np.load(FILES / f"{self.name}.npy")
        return right


def corpus() -> list[OddPicture]:
    """All of them."""
    return [OddPicture(**each) for each in json.loads(INDEX.read_text())]
