"""What the three families of models have in common, so that the registry treats them alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from featsvc.catalog.entry import Entry
from featsvc.engines.running.colours import Normal, Seen, normalised
from featsvc.engines.running.homeward import Later
from featsvc.work.operations import I, Operation, P, R
from featsvc.work.options import EngineOptions

AT_ONCE = 64
"""Crops of a picture that share a pass: of 224 x 224 pixels they take some 40 MB, and less than 1 GB on the way through
ViT-L."""


class Loaded(Protocol):
    """A model in memory."""

    @property
    def nbytes(self) -> int:
        """Memory of its weights and graphs, in bytes."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names under which /health lists it."""

    @property
    def stops(self) -> Iterable[nn.Module]:
        """Modules before which a pass may be stopped: each costs some microseconds, so not all that there are."""


@dataclass(frozen=True)
class Together:
    """Several models in memory, for an operation that computes with all of them; one may be here several times."""

    models: tuple[Loaded, ...]

    @property
    def nbytes(self) -> int:
        """Memory of the weights of all, each once."""
        return sum(each.nbytes for each in self._each_once)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names under which /health lists them."""
        return tuple(key for each in self._each_once for key in each.keys)

    @property
    def stops(self) -> Iterable[nn.Module]:
        """Of all."""
        return [stop for each in self._each_once for stop in each.stops]

    @property
    def _each_once(self) -> Iterable[Loaded]:
        return {id(each): each for each in self.models}.values()


E = TypeVar("E", bound=Entry)
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Model(Generic[E, N]):
    """A network on its device. Holds nothing about any request."""

    entry: E
    network: N
    device: torch.device
    file: Hashable = ()
    """What tells its weights file from another of the same name."""
    graph_bytes: int = field(default=0, kw_only=True)
    """Memory that its graphs of CUDA take."""

    @property
    def identity(self) -> Hashable:
        """Equal for networks that give the same answers: a file may be replaced between two loads."""
        return (self.entry.key, self.file)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its name for /health."""
        return (self.entry.health_key,)

    @cached_property
    def nbytes(self) -> int:
        """Memory of the weights and buffers, and of graphs."""
        tensors = (*self.network.parameters(), *self.network.buffers())
        return self.graph_bytes + sum(each.numel() * each.element_size() for each in tensors)


@dataclass(frozen=True)
class Prepared:
    """An item ready for the device."""

    batch_key: Hashable
    """Items with equal keys share a run and are answered together: see `alone` and `picture_key`."""
    pixels: int
    """Memory for the batch budget: pixels that the network sees, or as many for tokens of text."""
    flop: float
    """Arithmetic of its pass, about: it decides what may be computed while a longer pass pauses."""
    orientation: int = field(default=1, kw_only=True)
    """How the file says that its picture is to be shown, as EXIF counts."""


def alone() -> Hashable:
    """The key of an item that gains nothing from company: it is computed and answered by itself."""
    return object()


def picture_key(shape: tuple[int, ...], options: EngineOptions) -> Hashable:
    """The key of a picture as the network sees it: those of one size share a pass where that is faster.

    A CPU computes them one after the other, so that the first of a group would only wait for the last.
    """
    return alone() if options.device == "cpu" else shape


M = TypeVar("M", bound=Loaded)
Q = TypeVar("Q", bound=Prepared)


@dataclass(frozen=True)
class Computation(Generic[P, I, R, M, Q]):
    """How an operation is computed: by CPU work that may run beside the device, and by the device's work."""

    operation: Operation[P, I, R]
    prepare: Callable[[I, P, M, EngineOptions], Q]
    run: Callable[[list[Q], P, M], Sequence[R | Later[R]]]


AnyComputation: TypeAlias = Computation[Any, Any, Any, Any, Any]
"""Where it does not matter which."""


@dataclass(frozen=True)
class FamilyEngines:
    """How models of a family are loaded, and what is computed with them."""

    load: Callable[[Any, EngineOptions], Loaded]  # Any: the family's class of entries
    computations: tuple[AnyComputation, ...]


def forward_each(
    pictures: Sequence[Seen], normal: Normal, device: torch.device, forward: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Outputs of `forward` for pictures 3 x H x W of one size, one for each, in float32.

    A CPU gains nothing from a batch in float32 (614 against 559 ms a picture of 224 x 336 in ViT-B-16), and alone each
    answer has the same bytes whatever shared its batch.
    """
    if device.type == "cpu":
        return [forward(each.on_cpu(normal))[0].float() for each in pictures]
    there = torch.stack([each.on(device) for each in pictures])
    return list(forward(normalised(there, normal, [each.blank for each in pictures])).float())
