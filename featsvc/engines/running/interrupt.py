"""The steps of a pass: between two of them it is stopped where nobody waits for it any more, or pauses for others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

from featsvc.engines.running.steps import step, stepping

STEP_FLOP = 1 << 34
"""Arithmetic of one step on one thread of a CPU: some tenths of a second, and more than what ordinary pictures take."""
STEP_ROWS = 1024
"""Rows of a product come in multiples of this: a row then has the same bits in any company."""


@contextmanager
def interruptible(
    wanted: Callable[[], bool], modules: Iterable[Module] = (), settled: Callable[[], None] | None = None
) -> Iterator[None]:
    """Within the block `step` asks `wanted()`, and so does each of these modules before it computes.

    `wanted` may take its time, and run another pass meanwhile. `settled` waits for a device that works behind.
    """

    def settled_and_wanted() -> bool:
        if settled is not None:
            settled()
        return wanted()

    handles = [module.register_forward_pre_hook(lambda *_: step()) for module in modules]
    try:
        with stepping(settled_and_wanted):
            yield
    finally:
        for handle in handles:
            handle.remove()


def by_rows(product: Callable[[Tensor], Tensor], values: Tensor, row_flop: int) -> Tensor:
    """A product of values ... x D that treats each row alike, in steps where it is large; on a CPU."""
    rows = values.numel() // max(1, values.shape[-1])
    together = STEP_FLOP * torch.get_num_threads() // row_flop // STEP_ROWS * STEP_ROWS
    together = max(STEP_ROWS, together)
    if rows <= together:
        return product(values)
    flat = values.reshape(rows, -1)
    first = product(flat[:together])
    answer = first.new_empty(rows, first.shape[-1])
    answer[:together] = first
    for start in range(together, rows, together):
        step()
        answer[start : start + together] = product(flat[start : start + together])
    return answer.view(*values.shape[:-1], -1)
