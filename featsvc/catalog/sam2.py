"""The SAM2 entries, and every name under which a request may mean one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from featsvc.catalog.entry import HubFile, Sam2Entry, WeightFiles

META = "https://dl.fbaipublicfiles.com/segment_anything_2"
RELEASES = {"sam2": "072824", "sam2.1": "092824"}


@dataclass(frozen=True)
class _Size:
    """A size of Hiera: its name, the letters of its configuration, its parameters in millions."""

    name: str
    letters: str
    millions: float


SIZES = (
    _Size("tiny", "t", 38.9),
    _Size("small", "s", 46.0),
    _Size("base_plus", "b+", 80.8),
    _Size("large", "l", 224.4),
)


def entries() -> tuple[Sam2Entry, ...]:
    """All of them."""
    return tuple(_entry(version, size) for version in RELEASES for size in SIZES)


def _entry(version: str, size: _Size) -> Sam2Entry:
    key = f"{version}_hiera_{size.name}"
    return Sam2Entry(
        key=key,
        family="sam2",
        library="sam2",
        architecture=f"hiera_{size.name}",
        weights=WeightFiles(
            file_names=(f"{key}.pt",),
            hub=(HubFile(f"facebook/{key.replace('_', '-')}", f"{key}.pt"),),
            url=f"{META}/{RELEASES[version]}/{key}.pt",
        ),
        licence="Apache-2.0",
        nbytes=int(size.millions * 4e6),
        description=f"{version.upper()} with a Hiera {size.name.replace('_', ' ')} encoder",
        config=f"configs/{version}/{version}_hiera_{size.letters}.yaml",
    )


@cache
def names() -> MappingProxyType[str, str]:
    """Every accepted name, lower case and without folder or extension, to the key of its model."""
    known: dict[str, str] = {"demo-sam2": "demo-sam2", "demo_sam2": "demo-sam2"}
    for version in RELEASES:
        for size in SIZES:
            key = f"{version}_hiera_{size.name}"
            known |= {key: key, f"{version}_hiera_{size.letters}": key, key.replace("_", "-"): key}
    return MappingProxyType(known)
