"""Stops a forward pass that nobody waits for any more, between two modules of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook

from featsvc.errors import Abandoned


@contextmanager
def interruptible(wanted: Callable[[], bool], modules: Iterable[Module] | None = None) -> Iterator[None]:
    """Within the block any module that this thread calls raises Abandoned before it computes, once `wanted()` is false.

    Forward passes have no other common point, and asking here costs about a microsecond a module. Given some modules,
    only those ask: compiled code would take a hook of all modules for a part of itself.
    """

    # The hook is one of the process; other threads prepare pictures with modules of torchvision meanwhile.
    owner = threading.get_ident()

    def ask(module: Module, inputs: tuple[object, ...]) -> None:
        if threading.get_ident() == owner and not wanted():
            raise Abandoned("nobody waits for this any more")

    if modules is None:
        handles = [register_module_forward_pre_hook(ask)]
    else:
        handles = [module.register_forward_pre_hook(ask) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
