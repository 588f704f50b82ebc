"""Results as whole files, each noted in the manifest; many in one file where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from featsvc_client.bulk.commands import COCO
from featsvc_client.bulk.folder import Folder, size
from featsvc_client.bulk.formats import FORMATS, NPZ, zarr_group
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.outcomes import Outcome
from featsvc_client.bulk.packing import PARTS, SHARD, Shards, merge
from featsvc_client.bulk.records import Result

Kept: TypeAlias = tuple[Outcome, bytes | None]
"""What is kept of an answer, and the picture of it for people."""
ZARR = "zarr"
ZARR_FOLDER = "results.zarr"
PREVIEWS = "preview"


@dataclass(frozen=True)
class Todo:
    """A picture that has been read and is to be asked about."""

    position: int
    key: str
    stamp: str
    digest: str
    content: bytes
    old_output: str = ""


@dataclass(frozen=True)
class Written:
    """A result that is on disk and has no name yet."""

    staged: Path
    nbytes: int
    model: str
    picture: Path | None = None
    """For people."""


@dataclass(frozen=True)
class Writer:
    """How results become files."""

    form: str
    is_sharded: bool
    """Whether many of them go into one file later."""

    def written(self, stage: Callable[[str, Callable[[Path], object]], Path], kept: Kept) -> Written:
        """Writes the result of a picture, and the picture of it for people."""
        outcome, picture = kept
        staged = stage(self.suffix, lambda path: self._write(path, outcome))
        shown = None if picture is None else stage(".png", lambda path: path.write_bytes(picture))
        return Written(staged, size(staged), outcome.model, shown)

    @property
    def suffix(self) -> str:
        """Of the file of one picture."""
        if self.form == COCO:
            return ".json"
        return (NPZ if self.is_sharded else FORMATS[self.form]).suffix

    def _write(self, path: Path, outcome: Outcome) -> None:
        if self.form == COCO:
            part = {"facts": dict(outcome.facts), "annotations": list(outcome.annotations)}
            path.write_text(json.dumps(part))
        else:
            (NPZ if self.is_sharded else FORMATS[self.form]).write(path, {"": outcome})


class Store:
    """The results of one command in one folder. Its methods write files: call them in threads."""

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        form: str,
        per_file: int,
        categories: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._form = form
        self._categories = categories
        self._writer = Writer(form, per_file > 1)
        self._shards = Shards(folder, manifest, FORMATS[form], per_file) if per_file > 1 else None

    def keep(self, todo: Todo, outcome: Outcome, picture: bytes | None) -> int:
        """Keeps the result of a picture, and the picture of it for people; gives the bytes written."""
        return self.place(todo, self._writer.written(self._folder.stage, (outcome, picture)))

    def place(self, todo: Todo, written: Written) -> int:
        """Gives what is on disk its name; gives its bytes."""
        output, nbytes = self._output(todo), written.nbytes
        # An older result must be away before the new one is announced, or it would be taken for it.
        self._remove_own(todo.old_output)
        self._remove_own(output)
        if written.picture is not None:
            nbytes += size(written.picture)
            self._folder.place(written.picture, f"{PREVIEWS}/{todo.key}.png")
        if self._form == ZARR:
            self._begin_groups(output)
        self._manifest.announce(
            Result(todo.position, todo.stamp, todo.digest, output, written.nbytes, written.model)
        )
        self._folder.place(written.staged, output)
        self._manifest.confirm(todo.position)
        return nbytes

    def drop(self, todo: Todo, why: str) -> None:
        """Notes that a picture has no result, and removes that of its earlier content."""
        self._remove_own(todo.old_output)
        self._manifest.fail(todo.position, todo.stamp, todo.digest, why)
        if self._shards is not None and todo.old_output.startswith(SHARD):
            self._shards.write_anew(todo.position)

    def pack(self, position: int) -> None:
        """Packs the file that this place belongs to, if all its pictures have been asked about."""
        if self._shards is not None:
            self._shards.write_if_complete(position)

    def finish(self) -> None:
        """Packs all that is not packed yet."""
        if self._form == COCO:
            merge(self._folder, self._manifest, self._categories)
        elif self._shards is not None:
            self._shards.write_all()

    def _output(self, todo: Todo) -> str:
        if self._form == COCO or self._shards is not None:
            return f"{PARTS}/{todo.position:012d}{self._writer.suffix}"
        if self._form == ZARR:
            return f"{ZARR_FOLDER}/{todo.key}"
        return f"{todo.key}{self._writer.suffix}"

    def _remove_own(self, output: str) -> None:
        """Removes a result, unless its file has those of other pictures too."""
        if output and not output.startswith(SHARD):
            self._folder.remove(output)

    def _begin_groups(self, output: str) -> None:
        """Makes every folder above a result a zarr group, so that readers find what is below."""
        above = Path(output).parent
        for folder in (above, *above.parents):
            name = f"{folder}/zarr.json"
            if folder.parts and not self._folder.has(name):
                group = self._folder.stage("", lambda path: zarr_group(path, {}))
                self._folder.place(group / "zarr.json", name)
