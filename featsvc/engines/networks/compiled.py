"""Blocks of a network compiled by torch, and first passes, when it is loaded: no request waits for either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from featsvc.errors import CannotCompile
from featsvc.work.devices import is_gpu
from featsvc.work.options import EngineOptions

P = ParamSpec("P")
R = TypeVar("R")

GRAPHS = 64
"""Graphs of one block's code: two for each model, of one picture and of several, and as many for texts."""


def compile_blocks(blocks: Iterable[nn.Module], any_size: bool = True) -> None:
    """Compiles each block at its first call, for any number of tokens unless all pictures have one size.

    Blocks of one network share their graph, and it takes all sizes of pictures. What is outside of them, such as the
    hooks that stop a pass nobody waits for, stays as it is: `Model.stops` says where to hook in.
    """
    for block in blocks:
        block.forward = compiled(block.forward, any_size)


def compiled(step: Callable[P, R], any_size: bool = True) -> Callable[P, R]:
    """The step, compiled at its first call."""
    allow_graphs()
    return torch.compile(step, dynamic=any_size)


def allow_graphs() -> None:
    """Lets torch compile as many graphs as all models have; for each thread that loads models or computes.

    It goes back to uncompiled code beyond its own limit of 8, which three models would reach, and keeps a limit for
    each thread.
    """
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)


def is_slow_at_first(options: EngineOptions) -> bool:
    """Whether the first passes of a model take much longer: they compile, or bring a GPU's kernels into its memory."""
    return options.compile or is_gpu(options.device)


def warmed(key: str, passes: Iterable[Callable[[], object]], options: EngineOptions) -> None:
    """Runs passes of the usual sizes, at which the blocks are compiled; says so if this machine cannot."""
    with torch.inference_mode(), _without_compiler(key) if options.compile else nullcontext():
        for each in passes:
            each()


@contextmanager
def _without_compiler(key: str) -> Iterator[None]:
    """Within the block a compiler that is missing or fails is an error that says what to do."""
    # Imported here: it takes a second, and only who compiles needs it.
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        message = f"{key} cannot be compiled here: {reason}; install a C++ compiler (g++), or start without --compile"
        raise CannotCompile(message) from error
