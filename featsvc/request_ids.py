"""The id of a request: its caller's own or one made here; replies have it, and each line of log about it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import count

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered; empty where none is."""
RIGHT = re.compile(r"[\w.:-]{1,64}", re.ASCII)


def is_right(asked: str) -> bool:
    """Whether a caller may have this id: it comes back in headers and stands in logs."""
    return bool(RIGHT.fullmatch(asked))


def own_ids() -> Iterator[str]:
    """Ids that no other process gives."""
    process = secrets.token_hex(8)
    return (f"{process}{number:016x}" for number in count())
