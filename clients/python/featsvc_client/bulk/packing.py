"""Many results in one file. Each is kept by itself until all of its file are there, so that none is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.formats import NPZ, Format
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.outcomes import Outcome

PARTS = ".parts"
SHARD = "shard-"
ANNOTATIONS = "annotations.json"
# COCO's annotations name a category; automatic masks have none.
CATEGORIES = [{"id": 1, "name": "object"}]


def shard(folder: Folder, manifest: Manifest, form: Format, place: tuple[int, int]) -> None:
    """Writes the shard of that number and of so many places from the parts, and from an older shard of it."""
    number, per_file = place
    first = number * per_file + 1
    rows = list(manifest.done(first, first + per_file))
    name = f"{SHARD}{number:06d}{form.suffix}"
    outputs = {output for _, _, output in rows}
    if outputs <= {name}:
        return
    older = _many(form, folder.path / name) if name in outputs else {}
    outcomes = {key: older[key] if output == name else _one(folder.path / output) for _, key, output in rows}
    folder.place(folder.stage(form.suffix, lambda path: form.write(path, outcomes)), name)
    # Until here the parts count, and the next run would write the same file from them.
    manifest.move((position for position, _, _ in rows), name)
    for output in outputs - {name}:
        folder.remove(output)


def merge(folder: Folder, manifest: Manifest) -> None:
    """Writes the one COCO file from all parts, of which one at a time is in memory."""
    staged = folder.stage(".json", lambda path: _write_coco(path, folder.path, manifest))
    folder.place(staged, ANNOTATIONS)


def clean(folder: Folder, manifest: Manifest) -> None:
    """Removes parts that are in a shard already, or of a job that is not wanted any more."""
    with suppress(FileNotFoundError):
        parts = {int(path.stem): path for path in (folder.path / PARTS).iterdir()}
        for position, _, output in manifest.done():
            if output.startswith(PARTS):
                parts.pop(position, None)
        for path in parts.values():
            path.unlink()


def _write_coco(path: Path, folder: Path, manifest: Manifest) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"categories": ' + json.dumps(CATEGORIES))
        file.write(',\n"images": [\n')
        file.writelines(_lines(_images(folder, manifest)))
        file.write('],\n"annotations": [\n')
        file.writelines(_lines(_numbered(folder, manifest)))
        file.write("]}\n")


def _images(folder: Path, manifest: Manifest) -> Iterator[dict[str, object]]:
    for position, key, output in manifest.done():
        facts = json.loads((folder / output).read_text())["facts"]
        yield {"id": position, "file_name": key, **facts}


def _numbered(folder: Path, manifest: Manifest) -> Iterator[dict[str, object]]:
    number = 0
    for position, _, output in manifest.done():
        for each in json.loads((folder / output).read_text())["annotations"]:
            number += 1
            yield {"id": number, "image_id": position, **each}


def _lines(objects: Iterator[dict[str, object]]) -> Iterator[str]:
    """One object a line, with commas between."""
    for number, each in enumerate(objects):
        yield (",\n" if number else "") + json.dumps(each)


def _one(path: Path) -> Outcome:
    return _many(NPZ, path)[""]


def _many(form: Format, path: Path) -> dict[str, Outcome]:
    if form.read is None:
        raise TypeError(f"a file of {form.suffix} is about one picture")
    return form.read(path)
