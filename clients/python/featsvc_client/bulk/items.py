"""A picture among many, and where pictures come from."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol


@dataclass(frozen=True)
class Item:
    """A picture to ask about."""

    key: str
    """Its name, with slashes: the name of its result."""
    stamp: str
    """What changes when its file is written again; compared before anything is read."""
    read: Callable[[], bytes]
    """The encoded picture, to be read before the next item is asked for; raises OSError or ValueError."""


class Source(Protocol):
    """A file that has pictures in it."""

    @property
    def key(self) -> str:
        """Its name, or what the names of its pictures begin with."""

    def items(self) -> Iterator[Item]:
        """The pictures, in the same order every time."""

    def count(self) -> int:
        """How many there are, or about how many where only reading them all would tell."""


@dataclass(frozen=True)
class PictureFile:
    """A file that is a picture."""

    path: Path

    key: str

    def items(self) -> Iterator[Item]:
        """Itself."""
        yield Item(self.key, stamp(self.path), self.path.read_bytes)

    def count(self) -> int:
        """One."""
        return 1


def stamp(path: Path) -> str:
    """Size and time of a file; empty where it cannot be seen, which reading it will then tell."""
    try:
        seen = path.stat()
    except OSError:
        return ""
    return f"{seen.st_size} {seen.st_mtime_ns}"


def failing(key: str, path: Path, error: Exception) -> Item:
    """Stands for the pictures that a damaged file should have had."""

    def read() -> bytes:
        raise OSError(f"{path}: {error}") from error

    return Item(key, stamp(path), read)


def safe(name: str) -> str:
    """A name that stays below its folder, whoever wrote it."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return printable("/".join(part for part in parts if part not in ("/", "..")))


def printable(name: str) -> str:
    """A name of which every byte is a character, as the manifest needs it."""
    return name.encode("utf-8", "backslashreplace").decode()


def in_order(names: Iterable[str]) -> Iterator[str]:
    """The names sorted, on disk where they are many: a folder may have millions."""
    with closing(sqlite3.connect("", check_same_thread=False)) as sorter:
        sorter.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")
        sorter.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((os.fsencode(each),) for each in names))
        for (name,) in sorter.execute("SELECT name FROM names ORDER BY name"):
            yield os.fsdecode(name)
