"""What a process says on its standard streams. Nobody ever waits for a reader there, and nothing ends without one."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections import deque

# Lines of up to so long ago go out together: a write for each would cost more than all the rest of a line.
TOGETHER_S = 0.05
# What waits for a reader that is slow; of what comes beyond, only the number is told.
MOST_LINES, MOST_BYTES = 10_000, 4 * 1024 * 1024
# How long the end of a process may wait for its last lines.
LAST_LINES_S = 1.0


class LineWriter(logging.Handler):
    """Writes lines from a thread of its own, several at once; from WARNING on without waiting for others.

    Where nobody reads, the disk is full or the reader has gone, lines are dropped and counted; those that come later
    are written again as soon as they can be, behind a line that tells the number.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._nbytes = self._dropped = 0
        self._is_torn = False
        self._some, self._urgent, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._idle.set()
        self._guard = threading.Lock()
        self.setFormatter(formatter)
        threading.Thread(target=self._write_on, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record; its line is made here, where its request is known."""
        try:
            line = self.format(record)
        except (
            Exception
        ):  # as every handler of the standard library: what cannot be logged must not stop the rest
            line = f"a record of {record.name} cannot be written as a line"
        with self._guard:
            if len(self._lines) >= MOST_LINES or self._nbytes >= MOST_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._nbytes += len(line)
            self._idle.clear()
        if record.levelno >= logging.WARNING:
            self._urgent.set()
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Waits for what there is to be written, not for long: it is called when the process ends."""
        self._urgent.set()
        self._some.set()
        self._idle.wait(LAST_LINES_S)

    def _write_on(self) -> None:
        while True:
            self._some.wait()
            self._urgent.wait(TOGETHER_S)
            self._some.clear()
            self._urgent.clear()
            self._write_lines()

    def _write_lines(self) -> None:
        with self._guard:
            lines, self._lines, dropped = self._lines, deque(), self._dropped
            self._nbytes = self._dropped = 0
        if dropped:
            lines.appendleft(self.format(_telling_of(dropped)))
        if lines and not self._is_written(("\n".join(lines) + "\n").encode(errors="replace")):
            with self._guard:
                self._dropped += dropped + len(lines) - bool(dropped)
        with self._guard:
            if not self._lines:
                self._idle.set()

    def _is_written(self, raw: bytes) -> bool:
        left = memoryview(b"\n" + raw if self._is_torn else raw)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select((), (self._descriptor,), (), 1.0)
            except OSError:  # its reader has gone, or the disk is full
                self._is_torn = self._is_torn or len(left) < len(raw)
                return False
        self._is_torn = False
        return True


def announce(text: str) -> None:
    """A line on standard output, for people and for programs that started this one; lost where nobody reads it."""
    try:
        print(text, flush=True)
    except OSError:
        # Python tries once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _telling_of(dropped: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "featsvc.output",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "lines of log were dropped: nobody read them, or the disk was full",
            "created": time.time(),
            "lines": dropped,
        }
    )
