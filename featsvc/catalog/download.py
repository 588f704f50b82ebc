"""Fetches weights. A file takes its final name only when it is whole and its checksum is right."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from featsvc.catalog.entry import Entry, HubFile
from featsvc.errors import WeightsMissing

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60
REACH_S = 5
# What the hub calls large files, and its cache too, where files can have two names.
SHA256 = re.compile(r"[0-9a-f]{64}")


class BadDownload(Exception):
    """What came is not the file that was wanted; the message names no path."""


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
            failures.append(f"hf.co/{file.repository}/{file.name}: {_told(error)}")
    if entry.weights.url:
        try:
            return from_url(entry.weights.url, entry.weights.sha256)
        except (OSError, ValueError, BadDownload) as error:
            failures.append(f"{entry.weights.url}: {_told(error)}")
    names = " or ".join(entry.weights.file_names)
    raise WeightsMissing(
        f"{entry.key}: no download worked ({'; '.join(failures)}); or put {names} into --weights-dir"
    )


def _told(error: Exception) -> str:
    """What kind of error it is and, of the system, which: its whole text may hold paths of this machine."""
    if isinstance(error, BadDownload):
        return str(error)
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    kind = type(error).__name__
    return f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.strerror else kind


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
    """One file of the Hugging Face hub, in its cache; raises BadDownload where it is not what the hub says."""
    import huggingface_hub

    path = Path(huggingface_hub.hf_hub_download(file.repository, file.name))
    _expect_named(path)
    return path


def _expect_named(path: Path) -> None:
    """Raises BadDownload where the hub's cache names a large file by another checksum than it has; then it is gone."""
    kept = path.resolve()
    if not SHA256.fullmatch(kept.name):
        return
    with kept.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != kept.name:
        path.unlink()
        kept.unlink(missing_ok=True)
        raise BadDownload(f"the checksum of what came is {digest}, not {kept.name}")


def from_url(url: str, sha256: str, folder: Path | None = None) -> Path:
    """The file at an address, in torch hub's cache (where Meta's own code looks) or another folder."""
    from featsvc.catalog.caches import TORCH_HUB

    folder = folder or TORCH_HUB.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / PurePosixPath(url).name
    with _alone(folder / f".{target.name}.lock"):
        # Who downloads has not found it: another worker has brought it while this one waited.
        return target if target.is_file() else _fetched(url, sha256, target)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Only one process of this machine at a time is in here, of all that name this file; none remains afterwards."""
    while True:
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not _is_file(lock, held):
                continue  # who had it has removed it: others may lock a new one
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_file(path: Path, opened: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


def _fetched(url: str, sha256: str, target: Path) -> Path:
    folder = target.parent
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{target.name}.", delete=False) as part:
        try:
            # The address is one of the catalog's, never one of a request.
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source:
                digest, length = _copied(source, part.file)
                _expect_whole(source.headers.get("Content-Length"), length)
            part.close()
            if sha256 and not digest.startswith(sha256):
                raise BadDownload(
                    f"the checksum of what came begins with {digest[: len(sha256)]}, not {sha256}"
                )
            os.replace(part.name, target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return target


def _expect_whole(announced: str | None, length: int) -> None:
    if announced is not None and int(announced) != length:
        raise BadDownload(f"the download ended after {length} of {announced} bytes")


def _copied(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copies everything; the SHA-256 and the number of bytes."""
    digest, length = hashlib.sha256(), 0
    while chunk := source.read(BLOCK_BYTES):
        digest.update(chunk)
        target.write(chunk)
        length += len(chunk)
    return digest.hexdigest(), length
