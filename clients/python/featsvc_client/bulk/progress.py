"""How far it is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

from tqdm import tqdm

LINE_EVERY_S = 10.0


@dataclass
class Tally:
    """Figures of one run."""

    done: int = 0
    failed: int = 0
    failed_before: int = 0
    """Those of them that this run has not tried."""
    skipped: int = 0
    """Finished by an earlier run."""
    written: int = 0
    """Bytes."""


@dataclass
class Progress:
    """Counts, and shows. Threads may call it."""

    is_quiet: bool = False
    has_bar: bool = True
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._began = self._shown = time.monotonic()
        self._total: int | None = None
        shows = self.has_bar and self.stream.isatty() and not self.is_quiet
        # `disable`, because its own look at the terminal would be at another stream.
        self._bar = tqdm(
            file=self.stream, unit="picture", disable=not shows, dynamic_ncols=True, smoothing=0.1
        )

    def expect(self, total: int) -> None:
        """Takes note of how many pictures there are."""
        with self._lock:
            self._total = total
            if not self._bar.disable:
                self._bar.total = total
                self._bar.refresh()

    def skip(self) -> None:
        """Counts a picture that was done before."""
        with self._lock:
            self.tally.skipped += 1
            self._pass_by()

    def done(self, nbytes: int) -> None:
        """Counts a picture that is done now."""
        with self._lock:
            self.tally.done += 1
            self.tally.written += nbytes
            self._show()

    def fail(self, key: str, why: str) -> None:
        """Counts a picture that has no result, and says why."""
        with self._lock:
            self.tally.failed += 1
            self.say(f"failed: {key}: {why}")
            self._show()

    def fail_again(self) -> None:
        """Counts a picture that an earlier run could not do, and that is not tried again."""
        with self._lock:
            self.tally.failed += 1
            self.tally.failed_before += 1
            self._pass_by()

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if not self.is_quiet:
            self._bar.write(line, file=self.stream)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()

    def line(self) -> str:
        """The figures of now."""
        tally, seconds = self.tally, time.monotonic() - self._began
        here = tally.done + tally.failed - tally.failed_before
        rate = here / seconds if seconds else 0.0
        seen = here + tally.skipped + tally.failed_before
        total = "" if self._total is None else f" of {self._total}"
        left = ""
        if self._total is not None and rate:
            seconds_left = max(0, self._total - seen) / rate
            left = f", {tqdm.format_interval(seconds_left)} left"
        return f"{seen}{total} pictures, {tally.failed} failed, {rate:.1f}/s{left}"

    def _pass_by(self) -> None:
        """Moves the bar on by a picture that is no part of the rate: it costs nothing."""
        if not self._bar.disable:  # one without a bar has no such attribute
            self._bar.initial += 1
            self._bar.update(1)

    def _show(self) -> None:
        self._bar.set_postfix_str(f"{self.tally.failed} failed", refresh=False)
        self._bar.update(1)
        now = time.monotonic()
        if self._bar.disable and not self.is_quiet and now - self._shown >= LINE_EVERY_S:
            self._shown = now
            print(self.line(), file=self.stream, flush=True)
