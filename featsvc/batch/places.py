"""Where each picture of a data set is, and how tasks on any node read it: files, archives, rows of Parquet."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from featsvc_client.bulk.archives import DAMAGED, Archive, Member, is_picture
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import PictureFile, Source, safe, stamp
from featsvc_client.bulk.rows import DAMAGED as DAMAGED_ROWS
from featsvc_client.bulk.rows import Rows, content, row_stamp

AT_ONCE = 64
"""Pictures that a task reads, of folders and archives; of Parquet it reads a row group."""
PLAIN = ".tar"
LARGE_BYTES = 32 << 20
"""Of pictures that a task hands on at once."""
PLACES = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("key", "stamp", "path", "column", "error")),
        *(pa.field(name, pa.int64()) for name in ("offset", "size", "group", "position")),
        *(pa.field(name, pa.string()) for name in ("old_output", "known_digest")),
    ]
)
"""Where pictures are, and what the manifest knows of them."""
READ = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("key", "stamp", "old_output", "known_digest", "error")),
        pa.field("position", pa.int64()),
        pa.field("content", pa.large_binary()),
    ]
)
"""The same with the pictures."""


@dataclass(frozen=True)
class PicturePlace:
    """Where one picture is."""

    key: str
    """Its name: that of its result."""
    stamp: str
    """What changes when its file is written again."""
    path: str
    """Of its file, as every node sees it."""
    offset: int = 0
    """Of its first byte in the file; in Parquet its row in the group."""
    size: int = -1
    """In bytes; -1 is all of the file."""
    column: str = ""
    group: int = 0
    """In Parquet."""
    error: str = ""
    """Why it cannot be read."""


def parts(inputs: Inputs) -> Iterator[list[PicturePlace]]:
    """The pictures, as many together as a task reads. Raises Refused for files that nodes do not read."""
    files = list[PicturePlace]()
    for source in inputs.sources():
        if isinstance(source, PictureFile):
            files.append(PicturePlace(source.key, stamp(source.path), str(source.path.resolve())))
            if len(files) == AT_ONCE:
                yield files
                files = []
        else:
            # In the order of the client, for whom a place in that order is the place in a shard.
            if files:
                yield files
                files = []
            yield from _inside(source)
    if files:
        yield files


def _inside(source: Source) -> Iterator[list[PicturePlace]]:
    match source:
        case Archive(path=path) if path.suffix == PLAIN:
            return _members(source)
        case Rows():
            return _rows(source)
    raise Refused(f"{source.key}: batch reads no videos and no compressed archives; featsvc-client does")


def _members(source: Archive) -> Iterator[list[PicturePlace]]:
    """Pictures that lie behind each other."""
    part, path, seen = list[PicturePlace](), str(source.path.resolve()), stamp(source.path)
    try:
        with tarfile.open(source.path, "r:", tarinfo=Member) as archive:
            for member in archive:
                if is_picture(member):
                    key = f"{source.key}/{safe(member.name)}"
                    part.append(
                        PicturePlace(key, f"{seen} {member.offset}", path, member.offset_data, member.size)
                    )
                if len(part) == AT_ONCE:
                    yield part
                    part = []
    except DAMAGED as error:
        part.append(PicturePlace(source.key, seen, path, error=f"{source.path}: {error}"))
    if part:
        yield part


def _rows(source: Rows) -> Iterator[list[PicturePlace]]:
    """A row group at a time: less of it cannot be read."""
    number, path, seen = 0, str(source.path.resolve()), stamp(source.path)
    try:
        with pq.ParquetFile(source.path) as file:
            column = source.chosen(file.schema_arrow)
            for group in range(file.num_row_groups):
                part = list[PicturePlace]()
                for row in range(file.metadata.row_group(group).num_rows):
                    row_seen = row_stamp(seen, number, column)
                    part.append(PicturePlace(source.row_key(number), row_seen, path, row, -1, column, group))
                    number += 1
                yield part
    except DAMAGED_ROWS as error:
        yield [PicturePlace(source.key, seen, path, error=f"{source.path}: {error}")]


def contents(places: list[PicturePlace]) -> Iterator[bytes | str]:
    """Each picture, or why it cannot be read."""
    group: tuple[str, int] | None = None
    column: Any = None  # Any: pyarrow's
    for place in places:
        try:
            if place.error:
                yield place.error
                continue
            if not place.column:
                yield _bytes(place)
                continue
            if group != (place.path, place.group):
                with pq.ParquetFile(place.path) as file:
                    column = file.read_row_group(place.group, columns=[place.column]).column(0)
                group = place.path, place.group
            yield content(column[place.offset])
        except IndexError:
            yield f"{place.path}: was written again while it was read, and has no such row or column now"
        except (OSError, ValueError, *DAMAGED_ROWS) as error:
            yield str(error)


def _bytes(place: PicturePlace) -> bytes:
    with Path(place.path).open("rb") as file:
        file.seek(place.offset)
        found = file.read(place.size)
    if place.size >= 0 and len(found) != place.size:
        raise OSError(f"{place.key}: the archive ends after {len(found)} of {place.size} bytes")
    return found


def read(places: pa.Table) -> Iterator[pa.Table]:
    """The pictures of a part, with why they cannot be read where that is so."""
    names = [field.name for field in fields(PicturePlace)]
    rows, nbytes = list[dict[str, object]](), 0
    given = places.to_pylist()
    for row, found in zip(
        given, contents([PicturePlace(**{name: row[name] for name in names}) for row in given]), strict=True
    ):
        told = {"error": found} if isinstance(found, str) else {"error": "", "content": found}
        rows.append({name: row.get(name) for name in READ.names} | told)
        nbytes += len(found)
        if nbytes >= LARGE_BYTES:
            yield pa.Table.from_pylist(rows, READ)
            rows, nbytes = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, READ)
