"""Passes of the usual shapes as graphs of CUDA: a GPU is given each as one, in place of hundreds of kernels.

A graph reads and writes the memory that it was captured with. So what goes in is copied there, and what comes out is
copied before the next one is replayed; and no pass may bring anything from the host's memory, or wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from featsvc.engines.running.steps import step
from featsvc.engines.running.turns import TURNS
from featsvc.errors import is_out_of_memory
from featsvc.work.devices import is_gpu
from featsvc.work.options import EngineOptions

log = logging.getLogger("featsvc.engines.networks.graphs")

Tensors = tuple[Tensor, ...]
Pass = Callable[..., Tensors]
"""Of tensors whose first axis counts pictures, texts or prompts, as that of all its answers does."""
Kind = tuple[tuple[torch.Size, torch.dtype], ...]
"""What a graph takes, whatever its number."""
WARM_UP = 2
"""Passes before one is captured, in which libraries choose their kernels and take what memory they need."""
NEAR = 2e-2
"""How far a replay may be from the pass itself, in parts of the largest value: other kernels round otherwise."""


@dataclass(frozen=True)
class Graph:
    """A pass that was captured."""

    captured: torch.cuda.CUDAGraph
    inputs: Tensors
    outputs: Tensors
    own_bytes: int
    """Memory that the capture took from the device, and keeps."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.own_bytes + sum(each.nbytes for each in self.inputs)

    @property
    def count(self) -> int:
        """How many pictures, texts or prompts it takes."""
        return len(self.inputs[0])

    def __call__(self, *inputs: Tensor) -> Tensors:
        """The pass of as many, or fewer: rows behind them are those of some earlier pass, and are left out."""
        count = len(inputs[0])
        for own, given in zip(self.inputs, inputs, strict=True):
            own[:count].copy_(given)
        self.captured.replay()
        return tuple(each[:count].clone() for each in self.outputs)


class Graphed:
    """A pass that takes a graph where there is one of its shapes."""

    def __init__(self, act: Pass, name: str) -> None:
        self.act = act
        """The pass itself."""
        self._name = name
        self._graphs: dict[Kind, list[Graph]] = {}
        """Those of the fewest first."""

    @property
    def nbytes(self) -> int:
        """Memory that its graphs take."""
        return sum(each.nbytes for graphs in self._graphs.values() for each in graphs)

    def __call__(self, *inputs: Tensor) -> Tensors:
        """What the pass makes of these, and nobody writes to again."""
        found = self.replayed(*inputs)
        return self.act(*inputs) if found is None else found

    def replayed(self, *inputs: Tensor) -> Tensors | None:
        """The same by a graph, where there is one."""
        count = len(inputs[0])
        suiting = (each for each in self._graphs.get(_kind(inputs), ()) if each.count >= count)
        graph = next(suiting, None)
        if graph is None:
            return None
        step()
        return graph(*inputs)

    def capture(self, examples: Iterable[Tensors]) -> None:
        """Captures the pass for each of these shapes, the largest first, where that can be done.

        One that cannot be captured, or whose replay says something else than the pass, stays as it is.
        """
        pool = torch.cuda.graph_pool_handle()
        for inputs in examples:
            try:
                with TURNS.capturing():
                    graph = captured(self.act, inputs, pool)
                    others = tuple(map(_other, inputs))
                    is_right = _are_near(graph(*others), self.act(*others))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                log.warning("%s: no graph of %s: %s", self._name, _shapes(inputs), error)
                continue
            if is_right:
                self._graphs.setdefault(_kind(inputs), []).insert(0, graph)
            else:
                log.warning(
                    "%s: the graph of %s answers wrongly, and is left out", self._name, _shapes(inputs)
                )


def has_graphs(options: EngineOptions) -> bool:
    """Whether passes are to be captured."""
    return options.cuda_graphs and is_gpu(options.device)


def captured(
    act: Pass, inputs: Tensors, pool: Any
) -> Graph:  # Any: a handle, whose type torch keeps to itself
    """A pass as a graph, in memory that all of one pool share: none of them is replayed beside another."""
    own = tuple(each.clone() for each in inputs)
    device = own[0].device
    stream, beside = torch.cuda.current_stream(device), capture_stream(device)
    # What begins a capture waits for the current device, whichever that is.
    with torch.cuda.device(device):
        beside.wait_stream(stream)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                act(*own)
        stream.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # The mode is for this thread's calls: others prepare pictures meanwhile.
        with torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local"):
            before = torch.cuda.memory_reserved(device)
            outputs = act(*own)
    return Graph(graph, own, outputs, torch.cuda.memory_reserved(device) - before)


@lru_cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """That of all captures of a device: libraries of CUDA keep memory for each stream that they have seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch is typed in part


def _kind(inputs: Tensors) -> Kind:
    return tuple((each.shape[1:], each.dtype) for each in inputs)


def _shapes(inputs: Tensors) -> str:
    return " and ".join("x".join(map(str, each.shape)) for each in inputs)


def _other(given: Tensor) -> Tensor:
    """Other numbers of the same shape."""
    return torch.rand_like(given) if given.is_floating_point() else given.roll(1, dims=-1)


def _are_near(some: Tensors, others: Tensors) -> bool:
    """Whether all agree; what is no number agrees with nothing."""
    return all(
        bool(((one - other).abs().max() <= NEAR * other.abs().max()).item())
        for one, other in zip(some, others, strict=True)
    )
