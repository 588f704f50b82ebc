"""What every section is told, and what sections without torch need as well: a process imports torch for seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEVICE = "cuda:0"
MIB = 1 << 20
MOST_CLICK_MS = 20.0
"""On a picture that is kept, on cards of which other systems have told how fast they are."""
DRY_FACTOR = 3
"""So many times as long may all take in a trial, which has little to do and a slow machine to do it on."""


@dataclass(frozen=True)
class Conditions:
    """Where a section works, and on what."""

    folder: Path
    """For logs and weights."""
    dry: bool = False
    """Whether the GPU is pretended and there is as little to do as can be."""

    @property
    def weights(self) -> Path:
        """The folder with weights of the measured models, which the section of that name makes."""
        return self.folder / "weights"
