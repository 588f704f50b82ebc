"""Folders, globs, lists, archives, videos and pictures on the command line, in any mixture, as sources."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from featsvc_client.bulk import kinds
from featsvc_client.bulk.archives import Archive
from featsvc_client.bulk.extra import Refused, missing
from featsvc_client.bulk.items import PictureFile, Source, in_order, printable, safe

# A list may name lists; one that names itself would never end.
DEEPEST_LIST = 8
# What is taken of a folder.
KINDS = (kinds.is_picture, kinds.is_archive, kinds.is_video, kinds.is_table)


@dataclass(frozen=True)
class Inputs:
    """What the command was given to look at."""

    names: tuple[str, ...]
    every: int
    """The step from frame to frame in videos."""
    left_out: Path
    """The folder of the results, which may lie inside one that is read."""
    column: str = ""
    """Of tables: that with the pictures."""

    def check(self) -> None:
        """Raises Refused where a name means nothing, before anything is begun."""
        for name in self.names:
            path = Path(name)
            if path.is_dir() and path.resolve() == self.left_out:
                raise Refused(
                    f"{name}: results cannot go into the very folder that is read: choose another --out"
                )
            if not path.exists() and not (glob.has_magic(name) and any(glob.iglob(name, recursive=True))):
                raise Refused(f"{name}: no such file or folder")

    def sources(self) -> Iterator[Source]:
        """Every file with pictures, in the same order every time."""
        for name in self.names:
            yield from self._named(name, 0)

    def count(self) -> int:
        """How many pictures there are, or about how many."""
        return sum(source.count() for source in self.sources())

    def _named(self, name: str, depth: int) -> Iterator[Source]:
        path = Path(name)
        if path.is_dir():
            yield from self._inside(path, folder_key(name))
        elif glob.has_magic(name) and not path.exists():
            # The part that is written out is to the files what a folder is to those in it.
            root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
            for each in in_order(glob.iglob(name, recursive=True)):
                if not Path(each).is_dir():
                    below = Path(each).relative_to(root).as_posix()
                    yield self._file(Path(each), f"{folder_key(str(root))}/{below}".lstrip("/"))
        elif kinds.is_list(name) and depth < DEEPEST_LIST:
            yield from self._listed(path, depth)
        else:
            yield self._file(path, file_key(name))

    def _inside(self, folder: Path, key: str) -> Iterator[Source]:
        """All that is below a folder; hidden files and links to other folders are left out."""
        if folder.resolve() == self.left_out:
            return
        for name in in_order(_names(folder)):
            path, below = folder / name, f"{key}/{name}" if key else name
            if path.is_dir():
                if not path.is_symlink():
                    yield from self._inside(path, below)
            elif any(is_kind(name) for is_kind in KINDS):
                yield self._file(path, below)

    def _listed(self, path: Path, depth: int) -> Iterator[Source]:
        """What the lines of a list name, as on the command line."""
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if name := line.strip():
                    yield from self._named(name, depth + 1)

    def _file(self, path: Path, name: str) -> Source:
        key = printable(name)
        if kinds.is_video(path.name):
            return self._video(path, key)
        if kinds.is_table(path.name):
            return self._rows(path, key)
        return (Archive if kinds.is_archive(path.name) else PictureFile)(path, key)

    def _video(self, path: Path, key: str) -> Source:
        # Only here, because its library is large and few need it.
        from featsvc_client.bulk.videos import Video

        return Video(path, key, self.every)

    def _rows(self, path: Path, key: str) -> Source:
        try:
            from featsvc_client.bulk.rows import Rows
        except ModuleNotFoundError as error:
            raise missing(str(error.name), "Parquet files") from error
        return Rows(path, key, self.column)


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if not entry.name.startswith("."))


def folder_key(name: str) -> str:
    """What the names of pictures in a folder begin with: as given; of an absolute path only the last part."""
    path = Path(name)
    outside = path.is_absolute() or ".." in path.parts
    return safe(path.resolve().name if outside else path.as_posix())


def file_key(name: str) -> str:
    """The name of a picture that was given itself: as given; of an absolute path only the last part."""
    path = Path(name)
    return safe(path.name if path.is_absolute() or ".." in path.parts else path.as_posix())
