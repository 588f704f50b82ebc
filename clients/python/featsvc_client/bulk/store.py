"""Results as whole files, each noted in the manifest; many in one file where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from featsvc_client.bulk import packing
from featsvc_client.bulk.commands import COCO
from featsvc_client.bulk.folder import Folder, size
from featsvc_client.bulk.formats import NPY, NPZ, SAFETENSORS, ZARR, begin_zarr
from featsvc_client.bulk.manifest import Manifest, Result
from featsvc_client.bulk.outcomes import Outcome
from featsvc_client.bulk.packing import PARTS

FORMATS = {"npy": NPY, "npz": NPZ, "safetensors": SAFETENSORS, "zarr": ZARR}
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


class Store:
    """The results of one command in one folder. Its methods write files: call them in threads."""

    def __init__(self, folder: Folder, manifest: Manifest, form: str, per_file: int) -> None:
        self._folder = folder
        self._manifest = manifest
        self._form = form
        self._per_file = per_file

    def keep(self, todo: Todo, outcome: Outcome, picture: bytes | None) -> int:
        """Keeps the result of a picture, and the picture of it for people; gives the bytes written."""
        output = self._output(todo)
        staged = self._folder.stage(Path(output).suffix, self._writer(output, outcome))
        nbytes = size(staged)
        # An older result must be away before the new one is announced, or it would be taken for it.
        for name in {todo.old_output, output} - self._shared(todo.old_output):
            self._folder.remove(name)
        if picture is not None:
            shown = self._folder.stage(".png", lambda path: path.write_bytes(picture))
            self._folder.place(shown, f"{PREVIEWS}/{todo.key}.png")
        if self._form == "zarr":
            self._begin_groups(output)
        self._manifest.announce(Result(todo.position, todo.stamp, todo.digest, output, nbytes, outcome.model))
        self._folder.place(staged, output)
        self._manifest.confirm(todo.position)
        return nbytes + len(picture or b"")

    def drop(self, todo: Todo, why: str) -> None:
        """Notes that a picture has no result, and removes that of its earlier content."""
        for name in {todo.old_output} - self._shared(todo.old_output):
            self._folder.remove(name)
        self._manifest.fail(todo.position, todo.stamp, todo.digest, why)

    def pack(self, position: int) -> None:
        """Packs the file that this place belongs to, if all its pictures have been asked about."""
        if self._per_file > 1:
            number = (position - 1) // self._per_file
            first = number * self._per_file + 1
            if not self._manifest.open_in(first, first + self._per_file):
                self._shard(number)

    def finish(self) -> None:
        """Packs all that is not packed yet."""
        if self._form == COCO:
            packing.merge(self._folder, self._manifest)
        elif self._per_file > 1:
            shards = {
                (position - 1) // self._per_file
                for position, _, output in self._manifest.done()
                if output.startswith(PARTS)
            }
            for number in sorted(shards):
                self._shard(number)

    def _shard(self, number: int) -> None:
        packing.shard(self._folder, self._manifest, FORMATS[self._form], (number, self._per_file))

    def _output(self, todo: Todo) -> str:
        if self._form == COCO:
            return f"{PARTS}/{todo.position:012d}.json"
        if self._per_file > 1:
            return f"{PARTS}/{todo.position:012d}.npz"
        if self._form == "zarr":
            return f"{ZARR_FOLDER}/{todo.key}"
        return f"{todo.key}{FORMATS[self._form].suffix}"

    def _writer(self, output: str, outcome: Outcome) -> Callable[[Path], object]:
        if self._form == COCO:
            part = {"facts": dict(outcome.facts), "annotations": list(outcome.annotations)}
            return lambda path: path.write_text(json.dumps(part))
        form = NPZ if self._per_file > 1 else FORMATS[self._form]
        return lambda path: form.write(path, {"": outcome})

    def _shared(self, output: str) -> set[str]:
        """The names that are not one picture's own, and so must stay."""
        return {""} | ({output} if output.startswith(packing.SHARD) else set())

    def _begin_groups(self, output: str) -> None:
        """Makes every folder above a result a zarr group."""
        folder = self._folder.path
        for part in Path(output).parent.parts:
            folder /= part
            folder.mkdir(exist_ok=True)
            begin_zarr(folder)
