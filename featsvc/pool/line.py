"""Things in the order of their urgency, any of which may leave early. All steps are O(log n)."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Placed(Protocol):
    """What can stand in a line."""

    ticket: int
    """Its place, which it never has again; giving it up is leaving the line."""

    @property
    def order(self) -> tuple[float, int]:
        """How urgent it is: the smaller, the sooner. Fixed while it has its ticket."""
        ...


T = TypeVar("T", bound=Placed)


class Line(Generic[T]):
    """Most urgent first. One that leaves early stays in the heap, void, until its turn."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int], int, T]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, item: T) -> None:
        """Put in an item that has just got its ticket."""
        heappush(self._heap, (item.order, item.ticket, item))
        self._waiting += 1

    def forget_one(self) -> None:
        """Take note that some item has given up its ticket."""
        self._waiting -= 1
        if len(self._heap) > 2 * self._waiting + 64:
            self._heap = [place for place in self._heap if place[1] == place[2].ticket]
            heapify(self._heap)

    def head(self) -> T:
        """The most urgent item; there must be one."""
        while self._heap[0][1] != self._heap[0][2].ticket:
            heappop(self._heap)
        return self._heap[0][2]
