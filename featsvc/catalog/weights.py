"""Where the weights of an entry are: in the package, in --weights-dir, in a cache, or to be downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from featsvc.catalog.demo import WEIGHTS
from featsvc.catalog.download import download
from featsvc.catalog.entry import Entry
from featsvc.catalog.paths import last_part, path
from featsvc.errors import WeightsMissing


class WeightsPlace(Protocol):
    """Where to look, as EngineOptions and the command line say it."""

    @property
    def weights_dir(self) -> str:
        """Folder of files under their publishers' names."""

    @property
    def offline(self) -> bool:
        """Whether nothing may be downloaded."""


@dataclass(frozen=True)
class WeightsStatus:
    """The file that would be loaded, or what would mend its absence."""

    file: Path | None
    missing: str


def check(entry: Entry, place: WeightsPlace) -> WeightsStatus:
    """What loading the entry would use, without downloading anything."""
    file = _bundled(entry) or _in_folder(entry, place) or _in_caches(entry)
    return WeightsStatus(file, "" if file else _remedy(entry, place))


def find_weights(entry: Entry, place: WeightsPlace) -> Path:
    """The file of the entry's weights, downloaded if it is nowhere and that is allowed."""
    status = check(entry, place)
    if status.file:
        return status.file
    if place.offline or entry.weights.bundled:
        raise WeightsMissing(f"{entry.key}: {status.missing}")
    return download(entry)


def _bundled(entry: Entry) -> Path | None:
    file = path(str(WEIGHTS), entry.weights.bundled)
    return file if entry.weights.bundled and file.is_file() else None


def _in_folder(entry: Entry, place: WeightsPlace) -> Path | None:
    if not place.weights_dir:
        return None
    files = (path(place.weights_dir, name) for name in entry.weights.file_names)
    return next((file for file in files if file.is_file()), None)


def _in_caches(entry: Entry) -> Path | None:
    from featsvc.catalog.caches import in_hub_cache, in_url_caches

    hub = (in_hub_cache(file) for file in entry.weights.hub)
    return next((file for file in hub if file), None) or in_url_caches(entry.weights.url)


def _remedy(entry: Entry, place: WeightsPlace) -> str:
    """Says which file to put where, or which download would bring it; never a path of this machine."""
    if entry.weights.bundled:
        return f"{entry.weights.bundled} is gone from the package: install it again, or `make train-demo`"
    names = " or ".join(entry.weights.file_names)
    sources = [f"hf.co/{file.repository}" for file in entry.weights.hub[:1]]
    if entry.weights.url:
        sources.append(f"{urlsplit(entry.weights.url).netloc} ({last_part(entry.weights.url)})")
    where = " or ".join(sources)
    pull = f"`featsvc models pull {entry.key}`"
    return f"put {names} into --weights-dir, or run {pull} where {where} can be reached"
