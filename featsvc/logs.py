"""Logs on standard error, alike in every process: a JSON object a line, or words on a terminal; no keys, no pictures.

A line has `time`, `level`, `logger` and `message`, `request_id` where a request is being answered, then what the caller
of the logger gave as `extra`, and `traceback` where something broke.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

import orjson

from featsvc.output import LineWriter
from featsvc.request_ids import request_id

AUDIT = "featsvc.audit"
"""The logger of who changed what, and whose key was refused: it writes at every level of the others."""

# The times and the facts of the lines of a record.
Told = Sequence[tuple[float, Mapping[str, object]]]
# What every LogRecord has, and what libraries add; anything else was given as `extra` and belongs into the line.
EMPTY = vars(logging.makeLogRecord({}))
PLAIN = frozenset(EMPTY) | {"message", "asctime", "taskName", "color_message"}


def lines(logger: str, message: str, told: Told) -> logging.LogRecord:
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
    """A log record as one JSON object, or several where it tells of several things."""

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines, without the last one's end."""
        head = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        return "\n".join(
            orjson.dumps({"time": _time(created), **head, **facts}, default=str).decode()
            for created, facts in self.told(record)
        )

    def told(self, record: logging.LogRecord) -> Told:
        """What its lines tell beside level, logger and message."""
        given: dict[str, object] = vars(record)
        if "told" in given:
            # Everything about these is in their fields.
            return given["told"]  # type: ignore[return-value]  # `lines` has put it there
        current = request_id.get()
        facts: dict[str, object] = {"request_id": current} if current else {}
        # With an underscore is what libraries add to every record for themselves.
        facts |= {key: value for key, value in given.items() if key not in PLAIN and key[0] != "_"}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return [(record.created, facts)]


class PlainLines(JsonLines):
    """A log record as a line for people: time, level, message, its facts behind it, and a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines, without the last one's end."""
        head = f"{record.levelname.lower():<7} {record.getMessage()}"
        return "\n".join(_words(created, head, facts) for created, facts in self.told(record))


def _words(created: float, head: str, facts: Mapping[str, object]) -> str:
    clock = datetime.fromtimestamp(created).strftime("%H:%M:%S")
    told = "".join(f" {key}={value}" for key, value in facts.items() if key != "traceback")
    below = f"\n{facts['traceback']}" if "traceback" in facts else ""
    return f"{clock} {head}{told}{below}"


def setup(level: str, log_format: str = "auto") -> None:
    """Logs of this process, and warnings of its libraries, go to standard error."""
    # The logging HOWTO's advice for speed: nothing of this is in our lines.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    # What goes wrong while logging would be written to standard error past the thread.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    formatter = PlainLines() if is_plain(log_format, sys.stderr) else JsonLines()
    handler = LineWriter(sys.stderr.fileno(), formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(AUDIT).setLevel(logging.INFO)


def is_plain(log_format: str, stream: TextIO) -> bool:
    """Whether the setting means words for what goes to this stream: auto does on a terminal."""
    return log_format == "plain" or (log_format == "auto" and stream.isatty())


def _time(created: float) -> str:
    return f"{_second(int(created))}.{int(created % 1 * 1000):03d}+00:00"


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")
