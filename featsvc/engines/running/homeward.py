"""Answers on their way home while a GPU computes the next: copied by a stream of their own, each with its event.

On a CPU they are there at once, and what is made of them is made before anything else begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from featsvc.engines.running.pinned_room import PinnedRoom
from featsvc.engines.running.transfer import COPIES_PRIORITY, MOST_PINNED_BYTES, homebound

R = TypeVar("R")
S = TypeVar("S")


AHEAD_BYTES = 1 << 28
"""Of a pass's answers that are on their way at a time: they are in the device's memory and in pinned memory."""

ROOM = PinnedRoom(1 << 29)
"""Of this process, from when an answer is on its way until it is sent: passes that are written or wait for it have it
together. What has no room comes into ordinary memory, and its pass waits for that."""


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
    def nbytes(self) -> int:
        """Of the tensors that are still to come."""
        return 0 if self.came is None else sum(each.nbytes for each in self.tensors)

    def result(self) -> R:
        """What is made of them; waits for them."""
        if self.came is not None:
            self.came.synchronize()
        return self.make(*self.tensors)

    def made(self) -> Later[R]:
        """The same, made now; waits for it."""
        made = self.result()
        return Later(lambda: made, (), None)

    def then(self, change: Callable[[R], S]) -> Later[S]:
        """What that makes of the result."""
        return Later(lambda *tensors: change(self.make(*tensors)), self.tensors, self.came)


def when_home(make: Callable[..., R], *tensors: Tensor) -> Later[R]:
    """What `make` makes of these in the host's memory: their copies begin now, and the device goes on."""
    device = next((each.device for each in tensors if each.device.type == "cuda"), None)
    if device is None:
        return Later(make, tuple(map(homebound, tensors)), None)
    # Of a pool of its own: torch gives the same 32 again and again, and one of the others may be captured.
    beside = torch.cuda.Stream(device, priority=COPIES_PRIORITY)  # type: ignore[no-untyped-call]  # torch is typed in part
    # Not before they are computed.
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        coming = tuple(_copied(each, beside) for each in tensors)
        return Later(make, coming, beside.record_event())


def each_home(make: Callable[[Tensor], R], tensors: Sequence[Tensor]) -> list[Later[R]]:
    """What `make` makes of each of these in the host's memory; all are copied together."""
    home: Later[object] = when_home(lambda *_: None, *tensors)
    return [Later(make, (each,), home.came) for each in home.tensors]


def all_of(answers: Iterable[Later[R]]) -> list[Later[R]]:
    """All of them, begun: as many are on their way as there is room for, earlier ones are waited for."""
    begun, first, nbytes = list[Later[R]](), 0, 0
    for each in answers:
        begun.append(each)
        nbytes += each.nbytes
        while first < len(begun) and (begun[first].came is None or nbytes > AHEAD_BYTES):
            nbytes -= begun[first].nbytes
            begun[first] = begun[first].made()
            first += 1
    return begun


def joined(answers: Sequence[Later[R]], make: Callable[..., S]) -> Later[S]:
    """What `make` makes of the results of all."""
    came = next((each.came for each in reversed(answers) if each.came is not None), None)
    return Later(lambda: make(*(each.result() for each in answers)), (), came)


def _copied(tensor: Tensor, beside: torch.cuda.Stream) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor
    # Or its memory would be given away as soon as nobody refers to it here. Pinned memory is kept by torch itself.
    tensor.record_stream(beside)
    may_be_pinned = tensor.nbytes <= MOST_PINNED_BYTES
    home = ROOM.filled(tensor.nbytes, lambda: homebound(tensor)) if may_be_pinned else None
    return tensor.cpu() if home is None else home
