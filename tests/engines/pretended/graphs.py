"""Graphs of a CUDA that is not there: what was asked of it while one was captured, asked again in the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.engines.pretended.tensors import look

NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"


class Asked(NamedTuple):
    """An operator, on tensors in the memory of the device."""

    func: Any
    args: Any
    kwargs: Any
    made: list[Tensor]
    """What of its answer is new memory."""


@dataclass(eq=False)
class PretendedGraph:
    """What a capture has recorded. Its memory holds rubbish until it is replayed."""

    capturing: Capturing
    asked: list[Asked] = field(default_factory=list)

    def note(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        """Takes note of an operator."""
        given = {each.untyped_storage().data_ptr() for each in _tensors((args, list(kwargs.values())))}
        new = [each for each in _tensors((made,)) if each.untyped_storage().data_ptr() not in given]
        self.asked.append(Asked(func, args, kwargs, new))

    def end(self) -> None:
        """Nothing was computed yet."""
        for each in self.asked:
            for made in each.made:
                made.copy_(rubbish(made))

    def replay(self) -> None:
        """Computes all of it, with what its inputs hold now."""
        self.capturing.replays += 1
        for func, args, kwargs, made in self.asked:
            again = _tensors((func(*args, **kwargs),))
            for old, new in zip(made, again if made else (), strict=False):
                old.copy_(new)


class Capturing:
    """The graph that a device's work goes into at the moment, if any."""

    def __init__(self, *before: Callable[[], None]) -> None:
        self.before = before
        """What torch does before it captures."""
        self.graph: PretendedGraph | None = None
        self.replays = 0

    @contextmanager
    def __call__(self, graph: PretendedGraph, **_: Any) -> Iterator[None]:
        """As `torch.cuda.graph`."""
        for each in self.before:
            each()
        self.graph = graph
        try:
            yield
        finally:
            self.graph = None
        graph.end()

    def made(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator makes of tensors in the memory of the device."""
        made = func(*args, **kwargs)
        if self.graph is not None:
            self.graph.note(func, args, kwargs, made)
        return made

    def refuse(self) -> None:
        """What no graph can hold, or only what it was when that was captured."""
        if self.graph is not None:
            raise RuntimeError(NOT_PERMITTED)

    def facts(self) -> dict[str, Callable[..., Any]]:
        """What torch has for graphs."""
        return {"CUDAGraph": lambda: PretendedGraph(self), "graph": self, "graph_pool_handle": lambda: (0, 0)}


def rubbish(like: Tensor) -> Tensor:
    """What memory holds that nobody has written to."""
    return torch.full_like(like, torch.nan) if like.is_floating_point() else like.bitwise_not()


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    look(values, found, [])
    return found
