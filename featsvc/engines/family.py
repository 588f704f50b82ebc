"""What the three families of models have in common, so that the registry treats them alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from featsvc.engines.item import Item
from featsvc.engines.options import EngineOptions
from featsvc.engines.results import Result
from featsvc.engines.sizing import NetworkInput, stacked


class Loaded(Protocol):
    """A model in memory."""

    @property
    def nbytes(self) -> int:
        """Memory of its weights, in bytes."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names under which /health lists it."""


@dataclass(frozen=True)
class Prepared:
    """An item ready for the device."""

    batch_key: Hashable
    """Items with equal keys may share a forward pass."""
    pixels: int
    """Cost for the batch budget: pixels that the network sees, or as many for tokens of text."""


# Each operation takes its own classes of item, parameters, model and prepared item; the table that joins them
# cannot say which, so they are Any here and typed in the functions.
@dataclass(frozen=True)
class Operation:
    """The two halves of an operation: CPU work that may run beside the device, and the device's work."""

    prepare: Callable[[Item, Any, Any, EngineOptions], Prepared]
    run: Callable[[list[Any], Any, Any], list[Result]]


@dataclass(frozen=True)
class Family:
    """How models of a family are loaded, and what they can do."""

    load: Callable[[Any, EngineOptions], Loaded]
    operations: Mapping[str, Operation]


def nbytes(network: nn.Module) -> int:
    """Memory of a network's weights and buffers."""
    tensors = (*network.parameters(), *network.buffers())
    return sum(each.numel() * each.element_size() for each in tensors)


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's weights."""
    return next(network.parameters()).device


def forward_each(
    inputs: list[NetworkInput], device: torch.device, forward: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Outputs of `forward` for inputs of one size, one for each.

    A CPU gains nothing from a batch in float32 (DESIGN section 10), and alone each answer has the same bytes
    whatever shared its batch.
    """
    if device.type == "cpu":
        return [forward(stacked([each], device))[0] for each in inputs]
    return list(forward(stacked(inputs, device)))
