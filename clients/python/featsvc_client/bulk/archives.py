"""Pictures in tar files, such as the shards of WebDataset: read as a stream, never unpacked to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from featsvc_client.bulk import kinds
from featsvc_client.bulk.items import Item, failing, safe, stamp

# A damaged header, or a compressed stream that is damaged or ends too soon.
DAMAGED = (tarfile.TarError, OSError, EOFError)
# In the module since it was written, but not in its stubs.
DAMAGED_HEADER = (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]


class Member(tarfile.TarInfo):
    """A file of an archive. tarfile itself takes a header that is cut off or damaged for the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """The next one; raises ReadError where there should be one."""
        try:
            return super().fromtarfile(tarfile_)
        except DAMAGED_HEADER as error:
            raise tarfile.ReadError(str(error)) from error


@dataclass(frozen=True)
class Archive:
    """A tar file, compressed or not."""

    path: Path
    key: str

    def items(self) -> Iterator[Item]:
        """The pictures among its files; a damage in the middle is an item that cannot be read."""
        seen = stamp(self.path)
        try:
            with tarfile.open(self.path, "r|*", tarinfo=Member) as archive:
                for member in archive:
                    if is_picture(member):
                        key = f"{self.key}/{safe(member.name)}"
                        yield Item(key, f"{seen} {member.offset}", partial(_content, archive, member))
        except DAMAGED as error:
            yield failing(self.key, self.path, error)

    def count(self) -> int:
        """The pictures among its files; only the headers are read where it is not compressed."""
        try:
            with tarfile.open(self.path, "r:*") as archive:
                return sum(is_picture(member) for member in archive)
        except DAMAGED:
            return 1


def is_picture(member: tarfile.TarInfo) -> bool:
    """Whether a file of an archive is taken for a picture."""
    return member.isfile() and kinds.is_picture(member.name)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = archive.extractfile(member)
        content = b"" if file is None else file.read()
    except (tarfile.TarError, EOFError) as error:
        raise OSError(f"{member.name}: {error}") from error
    if len(content) != member.size:
        raise OSError(f"{member.name}: the archive ends after {len(content)} of {member.size} bytes")
    return content
