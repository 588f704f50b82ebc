"""Stops a forward pass that nobody waits for any more, between two modules of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook

from featsvc.errors import Abandoned


@contextmanager
def interruptible(wanted: Callable[[], bool]) -> Iterator[None]:
    """Within the block any module of any network raises Abandoned before it computes, once `wanted()` is false.

    Forward passes have no other common point, and asking here costs about a microsecond a module.
    """

    def ask(module: Module, inputs: tuple[object, ...]) -> None:
        if not wanted():
            raise Abandoned("nobody waits for this any more")

    handle = register_module_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()
