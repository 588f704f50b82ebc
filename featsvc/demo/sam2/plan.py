"""How demo-sam2 is trained: all that the result depends on, beside the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stretch of training on crops of one size; clicks and boxes are counted for one image."""

    side: int
    images: int
    clicks: int
    boxes: int


@dataclass(frozen=True)
class Plan:
    """Lengths are counted in steps, never in time; shares are parts of all steps."""

    steps: int = 4000
    small_share: float = 0.4
    small: Stage = Stage(128, 16, 5, 3)
    full: Stage = Stage(256, 8, 6, 3)
    scenes: int = 4000
    rate: float = 6e-4
    last_rate: float = 1e-5
    warm_up: int = 200
    weight_decay: float = 0.05
    guide: float = 1.5
    guide_share: float = 0.5
    correct_every: int = 3
    averaging: float = 0.998
    log_every: int = 50
    save_every: int = 500

    def stage(self, step: int) -> Stage:
        """Small crops first: cheap, and their objects are large."""
        return self.small if step < self.small_share * self.steps else self.full

    def rate_at(self, step: int) -> float:
        """Learning rate: cosine with a linear start."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return min(1.0, (step + 1) / self.warm_up) * (self.last_rate + (self.rate - self.last_rate) * cosine)

    def guide_at(self, step: int) -> float:
        """Weight of the attention guide, falling to nothing."""
        return self.guide * max(0.0, 1 - step / (self.guide_share * self.steps))
