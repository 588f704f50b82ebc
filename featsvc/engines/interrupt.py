"""Stops a forward pass that nobody waits for any more, between two modules of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch.nn import Module

from featsvc.errors import Abandoned


@contextmanager
def interruptible(wanted: Callable[[], bool], modules: Iterable[Module]) -> Iterator[None]:
    """Within the block each of these modules raises Abandoned before it computes, once `wanted()` is false.

    Only in this thread: others prepare pictures meanwhile.
    """
    owner = threading.get_ident()

    def ask(module: Module, inputs: tuple[object, ...]) -> None:
        if threading.get_ident() == owner and not wanted():
            raise Abandoned("nobody waits for this any more")

    handles = [module.register_forward_pre_hook(ask) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
