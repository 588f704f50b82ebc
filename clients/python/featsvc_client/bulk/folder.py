"""The folder of the results. A file in it is whole or not there: it is written elsewhere, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

UNFINISHED = ".unfinished"


class Stage:
    """A folder for files that have no name yet. One process has it."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        self._numbers = count()

    def free(self, suffix: str = "") -> Path:
        """Where nothing is."""
        # The suffix is kept because some writers go by it.
        return self.path / f"{next(self._numbers)}{suffix}"

    def stage(self, suffix: str, write: Callable[[Path], object]) -> Path:
        """Writes a file or folder, as yet without its name, and waits until it is on disk."""
        staged = self.free(suffix)
        write(staged)
        for each in (staged, *staged.rglob("*")) if staged.is_dir() else (staged,):
            _sync(each)
        return staged


class Folder:
    """Places whole files under their names."""

    def __init__(self, path: Path) -> None:
        """Makes the folder, and clears what an interrupted run had begun; only one run at a time may do so."""
        self.path = path
        shutil.rmtree(path / UNFINISHED, ignore_errors=True)
        self._stage = Stage(path / UNFINISHED)
        self.stage = self._stage.stage

    def place(self, staged: Path, name: str) -> None:
        """Gives it its name."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)
        _sync(target.parent)

    def remove(self, name: str) -> None:
        """Removes a result if it is there."""
        target = self.path / name
        if target.is_dir():
            # Out of the way by one step, so that no half of it is ever seen.
            aside = self._stage.free()
            os.replace(target, aside)
            shutil.rmtree(aside)
        else:
            target.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Whether a result is there."""
        return (self.path / name).exists()

    def close(self) -> None:
        """Removes what nobody needs any more."""
        shutil.rmtree(self._stage.path, ignore_errors=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.stat().st_size for each in files if each.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
