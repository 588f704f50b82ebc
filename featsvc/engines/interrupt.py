"""Stops a forward pass that nobody waits for any more, between two modules of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook

from featsvc.errors import Abandoned


@contextmanager
def interruptible(wanted: Callable[[], bool]) -> Iterator[None]:
    """Within the block any module that this thread calls raises Abandoned before it computes, once `wanted()` is false.

    Forward passes have no other common point, and asking here costs about a microsecond a module.
    """

    # The hook is one of the process; other threads prepare pictures with modules of torchvision meanwhile.
    owner = threading.get_ident()

    def ask(module: Module, inputs: tuple[object, ...]) -> None:
        if threading.get_ident() == owner and not wanted():
            raise Abandoned("nobody waits for this any more")

    handle = register_module_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()
