"""Fetches weights. A file takes its final name only when it is whole and its checksum is right."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import IO

from featsvc.catalog.entry import Entry, HubFile
from featsvc.errors import WeightsMissing

CHUNK = 1 << 20
TIMEOUT_S = 60
REACH_S = 5


def download(entry: Entry) -> Path:
    """The file of the entry's weights, from the hub or else from its publisher's address."""
    failures: list[str] = []
    # Without a network huggingface_hub would try for half a minute, and that for each file.
    reachable = bool(entry.weights.hub) and hub_answers()
    if entry.weights.hub and not reachable:
        failures.append("the Hugging Face hub cannot be reached")
    for file in entry.weights.hub if reachable else ():
        try:
            return from_hub(file)
        except Exception as error:  # huggingface_hub lets errors of its HTTP library through, httpx or httpx2
            failures.append(f"hf.co/{file.repository}/{file.name}: {type(error).__name__}")
    if entry.weights.url:
        try:
            return from_url(entry.weights.url, entry.weights.sha256)
        except (OSError, ValueError) as error:
            failures.append(f"{entry.weights.url}: {type(error).__name__}")
    names = " or ".join(entry.weights.file_names)
    raise WeightsMissing(
        f"{entry.key}: no download worked ({'; '.join(failures)}); or put {names} into --weights-dir"
    )


def hub_answers() -> bool:
    """Whether the Hugging Face hub, or the mirror that HF_ENDPOINT names, can be reached."""
    from huggingface_hub import constants

    try:
        with urllib.request.urlopen(
            urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=REACH_S
        ):
            return True
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False


def from_hub(file: HubFile) -> Path:
    """One file of the Hugging Face hub, in its cache."""
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(file.repository, file.name))


def from_url(url: str, sha256: str, folder: Path | None = None) -> Path:
    """The file at an address, in torch hub's cache (where Meta's own code looks) or another folder."""
    from featsvc.catalog.caches import TORCH_HUB

    folder = folder or TORCH_HUB.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / PurePosixPath(url).name
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{target.name}.", delete=False) as part:
        try:
            # The address is one of the catalog's, never one of a request.
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source:
                digest, length = _copied(source, part.file)
                _expect_whole(source.headers.get("Content-Length"), length)
            part.close()
            if sha256 and not digest.startswith(sha256):
                raise ValueError(f"{target.name}: its checksum is {digest}, not {sha256}")
            os.replace(part.name, target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return target


def _expect_whole(announced: str | None, length: int) -> None:
    if announced is not None and int(announced) != length:
        raise OSError(f"the download ended after {length} of {announced} bytes")


def _copied(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copies everything; the SHA-256 and the number of bytes."""
    digest, length = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
        length += len(chunk)
    return digest.hexdigest(), length
