"""Paths of files that are looked for again and again."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

MOST = 4096


@lru_cache(MOST)
def path(folder: str, name: str) -> Path:
    """A file in a folder, made once.

    Python keeps one string for each name that is in a path, while it is: where the same ones come and go with each
    question, the table of them grows to twice its size, a megabyte.
    """
    return Path(folder, name)


def last_part(url: str) -> str:
    """The name of the file that an address is of."""
    return url.rpartition("/")[2]
