"""Results that a device has computed and that are still to be brought home and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

R = TypeVar("R")


class Coming(Sequence[R]):
    """Results each of which is waited for and made when it is first looked at; any thread may do that, one at a time.

    Looking raises what is wrong with that one, and with no other.
    """

    def __init__(self, makers: Sequence[Callable[[], R]]) -> None:
        self._makers: list[Callable[[], R] | None] = [*makers]
        self._made: dict[int, R] = {}

    def __len__(self) -> int:
        return len(self._makers)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> list[R]: ...

    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return [self._result(each) for each in range(*index.indices(len(self)))]
        return self._result(range(len(self))[index])

    def _result(self, index: int) -> R:
        make = self._makers[index]
        if make is not None:
            self._made[index] = make()
            self._makers[index] = None  # with what it was made of
        return self._made[index]
