"""Answers on their way home while a GPU computes the next: copied by a stream of their own, each with its event.

On a CPU they are there at once, and what is made of them is made before anything else begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from featsvc.engines.running.transfer import homebound

R = TypeVar("R")
S = TypeVar("S")

AHEAD_BYTES = 1 << 28
"""Of answers that are on their way at a time: they are in the device's memory and in pinned memory."""


@dataclass(frozen=True)
class Later(Generic[R]):
    """What will be made of tensors when they have come to the host's memory."""

    make: Callable[..., R]
    """Takes the tensors."""
    tensors: tuple[Tensor, ...]
    """In the host's memory; before the event whatever was there."""
    came: torch.cuda.Event | None
    """When they are there; None where they are."""

    @property
    def is_here(self) -> bool:
        """Whether its result needs no waiting; also where the device has failed, which the result then says."""
        try:
            return self.came is None or bool(self.came.query())  # type: ignore[no-untyped-call]  # as below
        except RuntimeError:
            return True

    @property
    def nbytes(self) -> int:
        """Of the tensors that are still to come."""
        return 0 if self.came is None else sum(each.nbytes for each in self.tensors)

    def result(self) -> R:
        """What is made of them; waits for them."""
        if self.came is not None:
            self.came.synchronize()
        return self.make(*self.tensors)

    def then(self, change: Callable[[R], S]) -> Later[S]:
        """What that makes of the result."""
        return Later(lambda *tensors: change(self.make(*tensors)), self.tensors, self.came)


def when_home(make: Callable[..., R], *tensors: Tensor) -> Later[R]:
    """What `make` makes of these in the host's memory: their copies begin now, and the device goes on."""
    device = next((each.device for each in tensors if each.device.type == "cuda"), None)
    if device is None:
        return Later(make, tensors, None)
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch is typed in part
    # Not before they are computed.
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        coming = tuple(_copied(each, beside) for each in tensors)
        return Later(make, coming, beside.record_event())


def all_of(answers: Iterable[Later[R]]) -> Later[list[R]]:
    """Their results, in order. Later ones are begun before earlier ones are waited for, as far as there is room."""
    made, waiting, nbytes = list[R](), deque[Later[R]](), 0
    for each in answers:
        waiting.append(each)
        nbytes += each.nbytes
        while waiting and (waiting[0].came is None or nbytes > AHEAD_BYTES):
            first = waiting.popleft()
            nbytes -= first.nbytes
            made.append(first.result())
    if not waiting:
        return Later(lambda: made, (), None)
    # What is copied last is here last, or nearly: the others have events of their own.
    *before, last = waiting
    return Later(
        lambda *tensors: [*made, *(each.result() for each in before), last.make(*tensors)],
        last.tensors,
        last.came,
    )


def _copied(tensor: Tensor, beside: torch.cuda.Stream) -> Tensor:
    if tensor.device.type == "cuda":
        # Or its memory would be given away as soon as nobody refers to it here. Pinned memory is kept by torch itself.
        tensor.record_stream(beside)
    return homebound(tensor)
