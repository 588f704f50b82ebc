"""Many results in one file. Each is kept by itself until all of its file are there, so that none is asked for twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.formats import NPZ, Format
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.outcomes import Outcome

PARTS = ".parts"
SHARD = "shard-"
ANNOTATIONS = "annotations.json"


@dataclass(frozen=True)
class Shards:
    """Files of so many pictures each: which is in which is fixed by the order in which they were first seen."""

    folder: Folder
    manifest: Manifest
    form: Format
    per_file: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The last two pictures of a shard may be done at the same time."""

    def write_if_complete(self, position: int) -> None:
        """Writes the shard of this place if all its pictures have been asked about."""
        with self.lock:
            first, after = self._places(self._number(position))
            if not self.manifest.open_in(first, after):
                self._write(self._number(position))

    def write_anew(self, position: int) -> None:
        """Writes the shard of this place again, because a picture in it has no result any more."""
        with self.lock:
            self._write(self._number(position), anew=True)

    def write_all(self) -> None:
        """Writes all shards of which there are parts."""
        with self.lock:
            parts = (position for position, _, output in self.manifest.done() if output.startswith(PARTS))
            for number in sorted({self._number(position) for position in parts}):
                self._write(number)

    def _write(self, number: int, anew: bool = False) -> None:
        rows = list(self.manifest.done(*self._places(number)))
        name = f"{SHARD}{number:06d}{self.form.suffix}"
        outputs = {output for _, _, output in rows}
        gone = [output for output in outputs if not self.folder.has(output)]
        for output in gone:
            self.manifest.forget(output)
        if gone or (outputs <= {name} and not anew):
            return
        if not rows:
            self.folder.remove(name)
            return
        older = _many(self.form, self.folder.path / name) if name in outputs else {}
        outcomes = {
            key: older[key] if output == name else _many(NPZ, self.folder.path / output)[""]
            for _, key, output in rows
        }
        staged = self.folder.stage(self.form.suffix, lambda path: self.form.write(path, outcomes))
        self.folder.place(staged, name)
        # Until here the parts count, and the next run would write the same file from them.
        self.manifest.move((position for position, _, _ in rows), name)
        for output in outputs - {name}:
            self.folder.remove(output)

    def _number(self, position: int) -> int:
        return (position - 1) // self.per_file

    def _places(self, number: int) -> tuple[int, int]:
        """The first place of a shard, and the first after it."""
        first = number * self.per_file + 1
        return first, first + self.per_file


def merge(folder: Folder, manifest: Manifest, categories: Sequence[str]) -> None:
    """Writes the one COCO file from all parts, of which one at a time is in memory. Categories are numbered from 1."""
    named = [{"id": number, "name": each} for number, each in enumerate(categories, 1)]
    staged = folder.stage(".json", lambda path: _write_coco(path, folder.path, manifest, named))
    folder.place(staged, ANNOTATIONS)


def clean(folder: Folder, manifest: Manifest) -> None:
    """Removes parts that are in a shard already, and shards and parts of a job that is not wanted any more."""
    for output in manifest.outputs_of_other_jobs():
        if output.startswith(SHARD):
            folder.remove(output)
    with suppress(FileNotFoundError):
        for path in (folder.path / PARTS).iterdir():
            output = f"{PARTS}/{path.name}"
            if not any(each == output for _, _, each in manifest.done(int(path.stem), int(path.stem) + 1)):
                path.unlink()
        # Empty: nothing is under way that needs it.
        with suppress(OSError):
            (folder.path / PARTS).rmdir()


# Any: JSON.
def _write_coco(
    path: Path, folder: Path, manifest: Manifest, categories: Sequence[Mapping[str, Any]]
) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"categories": ' + json.dumps(categories))
        file.write(',\n"images": [\n')
        file.writelines(_lines(_images(folder, manifest)))
        file.write('],\n"annotations": [\n')
        file.writelines(_lines(_numbered(folder, manifest)))
        file.write("]}\n")


# Any: JSON.
def _parts(folder: Path, manifest: Manifest) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for position, key, output in manifest.done():
        # Of a picture that is not among the inputs any more, somebody may have removed it.
        with suppress(FileNotFoundError):
            yield position, key, json.loads((folder / output).read_text())


def _images(folder: Path, manifest: Manifest) -> Iterator[dict[str, object]]:
    for position, key, part in _parts(folder, manifest):
        yield {"id": position, "file_name": key, **part["facts"]}


def _numbered(folder: Path, manifest: Manifest) -> Iterator[dict[str, object]]:
    number = 0
    for position, _, part in _parts(folder, manifest):
        for each in part["annotations"]:
            number += 1
            yield {"id": number, "image_id": position, **each}


def _lines(objects: Iterator[dict[str, object]]) -> Iterator[str]:
    """One object a line, with commas between."""
    for number, each in enumerate(objects):
        yield (",\n" if number else "") + json.dumps(each)


def _many(form: Format, path: Path) -> dict[str, Outcome]:
    if form.read is None:
        raise TypeError(f"a file of {form.suffix} is about one picture")
    return form.read(path)
