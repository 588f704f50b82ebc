"""Work that would hold the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# Below this, handing work to a thread costs more than doing it.
OFF_LOOP_BYTES = 32 * 1024

P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(nbytes: int, work: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """The result of the work, which is done in a thread where it concerns many bytes."""
    if nbytes < OFF_LOOP_BYTES:
        return work(*arguments, **keywords)
    return await asyncio.to_thread(work, *arguments, **keywords)
