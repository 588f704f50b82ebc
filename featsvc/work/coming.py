"""Results that a device still computes while something else is asked of it. Knows no torch, for the pool uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

R = TypeVar("R")


class Coming(Sequence[R]):
    """Results that are waited for when they are first looked at, which then raises what was wrong with them.

    For one thread, as what computes is.
    """

    def __init__(self, results: Callable[[], list[R]], is_here: Callable[[], bool]) -> None:
        """`results` waits for them; `is_here` does not, and is true where waiting would raise an error at once."""
        self._make = results
        self._is_here = is_here
        self._made: list[R] | None = None

    @property
    def is_here(self) -> bool:
        """Whether looking at them takes no time."""
        return self._made is not None or self._is_here()

    def __len__(self) -> int:
        return len(self._results())

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> list[R]: ...

    def __getitem__(self, index: int | slice) -> R | list[R]:
        return self._results()[index]

    def _results(self) -> list[R]:
        if self._made is None:
            self._made = self._make()
        return self._made
