"""The optimiser and schedule that clip and dino share: AdamW, warm-up, cosine, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def optimizer(modules: Iterable[nn.Module], rate: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and nothing else."""
    named = [pair for module in modules for pair in module.named_parameters()]
    plain = [value for name, value in named if value.ndim < 2 or "embed" in name]
    optimizer = {id(value) for value in plain}
    matrices = [value for _, value in named if id(value) not in optimizer]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def rate_at(step: int, steps: int, peak: float, warmup: int = 300) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def descend(loss: torch.Tensor, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One step down the gradient, its norm clipped to 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    values = [value for group in optimizer.param_groups for value in group["params"]]
    nn.utils.clip_grad_norm_(values, 1.0)
    optimizer.step()


class Average(Generic[Network]):
    """Exponential average of a network's weights, which is what ships."""

    def __init__(self, model: Network, decay: float = 0.998) -> None:
        self.model = copy.deepcopy(model).eval()
        self._decay = decay

    @torch.no_grad()
    def follow(self, model: Network, step: int) -> None:
        """Moves towards the network, faster at first while the average still holds the random start."""
        decay = min(self._decay, (step + 1) / (step + 10))
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(its, 1 - decay)
