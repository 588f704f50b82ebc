"""How urgent a call is beside others of its own caller, as metadata says it."""

from __future__ import annotations

import re

HEADER = "x-featsvc-priority"
LEAST, MOST = -9, 9
WRITTEN = re.compile(r"-?[0-9]")
MEANING = f"a whole number from {LEAST} to {MOST}, higher before lower"


def read(text: str) -> int | None:
    """The priority that is written there; None where it is none."""
    return int(text) if WRITTEN.fullmatch(text) else None
