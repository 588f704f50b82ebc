"""Work in steps, between which it ends where nobody waits for it any more. It knows no torch, for decoders use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from featsvc.errors import Abandoned

# What is deep inside has no other way to learn whose work it is. What runs while other work pauses in the same thread
# has its own value meanwhile, and other threads have none.
_wanted: ContextVar[Callable[[], bool] | None] = ContextVar("featsvc_wanted", default=None)


def step() -> None:
    """Stands between two steps: raises Abandoned where nobody waits for the work any more."""
    wanted = _wanted.get()
    if wanted is not None and not wanted():
        raise Abandoned("nobody waits for this any more")


@contextmanager
def stepping(wanted: Callable[[], bool]) -> Iterator[None]:
    """Within the block `step` asks `wanted()`, which may take its time, and do other work meanwhile."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)
