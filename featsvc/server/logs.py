"""Structured logs: one JSON object a line on standard error, with the request id, never with keys or pictures."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO

import orjson

request_id: ContextVar[str] = ContextVar("request_id", default="")
# What every LogRecord has; anything else was given as `extra` and belongs into the line.
EMPTY = vars(logging.makeLogRecord({}))
PLAIN = frozenset(EMPTY) | {"message", "asctime", "taskName"}
# Lines of up to so long ago go out together: a write for each would cost more than all the rest of a line.
TOGETHER_S = 0.05


def lines(logger: str, message: str, told: Sequence[tuple[float, Mapping[str, object]]]) -> logging.LogRecord:
    """One record for several lines of what is logged at every call: a record for each would cost more than its line.

    Each has the time of what it tells, in seconds since the epoch, and its fields.
    """
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = {
        **EMPTY,
        "name": logger,
        "msg": message,
        "levelno": logging.INFO,
        "levelname": "INFO",
        "created": told[0][0],
        "told": told,
    }
    return record


class JsonLines(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines, without the last one's end."""
        given = vars(record)
        level, message = record.levelname.lower(), record.getMessage()
        if told := given.get("told"):
            # Everything about these is in their fields.
            return "\n".join(
                _json({**_head(created, level, record.name, message), **fields}) for created, fields in told
            )
        line = _head(record.created, level, record.name, message)
        if current := request_id.get():
            line["request_id"] = current
        line |= {key: value for key, value in given.items() if key not in PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


def _head(created: float, level: str, logger: str, message: str) -> dict[str, object]:
    time = f"{_second(int(created))}.{int(created % 1 * 1000):03d}+00:00"
    return {"time": time, "level": level, "logger": logger, "message": message}


def _json(line: Mapping[str, object]) -> str:
    return orjson.dumps(line, default=str).decode()


class LineWriter(logging.Handler):
    """Writes lines from a thread, several at once; from WARNING on at once. What is left goes out at the end."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__()
        self._sink = sink
        self._lines: list[str] = []
        self._some = threading.Event()
        self.setFormatter(JsonLines())
        threading.Thread(target=self._write_on, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record; its line is made here, where its request is known."""
        try:
            self._lines.append(self.format(record))
        except (
            Exception
        ):  # as every handler of the standard library: what cannot be logged must not stop the rest
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Writes what there is."""
        with self.lock or threading.RLock():
            lines, self._lines = self._lines, []
            if lines:
                self._sink.write(("\n".join(lines) + "\n").encode())
                self._sink.flush()

    def _write_on(self) -> None:
        while True:
            self._some.wait()
            time.sleep(TOGETHER_S)
            self._some.clear()
            self.flush()


def setup(level: str) -> None:
    """Logs of this process go to standard error as JSON lines."""
    # The logging HOWTO's advice for speed: nothing of this is in our lines.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(level=level.upper(), handlers=[LineWriter(sys.stderr.buffer)], force=True)


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")
