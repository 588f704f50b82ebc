"""How much a forward pass may have, by what memory has taught."""

from __future__ import annotations

import time


class PixelBudget:
    """How large a forward pass may be, by what memory has taught.

    Where memory has not run out for a long time, as it may be free by now, one pass of twice the size is tried. Each
    time that fails the next is tried after twice as long, so that not much is lost by it.
    """

    def __init__(self, most: float, patience_s: float) -> None:
        self._most = self._pixels = most
        self._patience_s = patience_s
        self._since = 0.0

    def pixels(self) -> float:
        """What a pass may have now."""
        if self._pixels < self._most and time.monotonic() - self._since >= self._patience_s:
            return min(2 * self._pixels, self._most)
        return self._pixels

    def fitted(self, pixels: float) -> None:
        """A pass of this size had memory enough."""
        tried = self.pixels()
        if self._pixels < pixels <= tried:
            self._pixels = tried
            self._since = time.monotonic()

    def lacked(self, pixels: float) -> float:
        """A pass of this size had not: the size of the next."""
        if pixels > self._pixels:
            self._patience_s *= 2
        else:
            self._pixels = pixels / 2
        self._since = time.monotonic()
        return self._pixels
