"""Logs as one line of JSON each, on standard error."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import orjson

# What a record has of itself; everything else was given by `extra`.
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """A record as JSON; what `extra` gave stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def setup(level: str) -> None:
    """Sends the logs of this process to standard error."""
    sink = logging.StreamHandler()
    sink.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[sink], force=True)
    # uvicorn tells of every start and stop; we tell of those ourselves.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING if level != "debug" else logging.DEBUG)
