"""Certificates of an authority that lives as long as a test."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """An authority, and where its files go."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        path = self.folder / "ca.pem"
        if not path.exists():
            self.ca.cert_pem.write_to_path(str(path))
        return path

    def server(self, name: str = "server", end: datetime | None = None) -> Pair:
        """A certificate for this machine; one of the same name takes the place of the one before."""
        return self._written(name, self.ca.issue_cert("localhost", "127.0.0.1", "::1", not_after=end))

    def client(self, name: str, *others: str) -> Pair:
        """A certificate of a caller, with alternative names."""
        return self._written(name, self.ca.issue_cert(*others, common_name=name))

    def client_context(self, shown: Pair | None = None) -> ssl.SSLContext:
        """What trusts this authority."""
        context = ssl.create_default_context(cafile=self.file)
        if shown is not None:
            context.load_cert_chain(shown.cert, shown.key)
        return context

    def _written(self, name: str, made: trustme.LeafCert) -> Pair:
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        put(pair.cert, b"".join(each.bytes() for each in made.cert_chain_pems))
        put(pair.key, made.private_key_pem.bytes())
        return pair


def swaps(authority: Authority, pair: Pair, times: int) -> Iterator[tuple[Authority, Authority]]:
    """Puts a certificate of a new authority in the place of the pair, so that who trusts that proves that it is shown.

    One file goes after the other, as most programs do it: between the two the pair does not fit, and the one before it
    counts. After each file it gives the authority of what is in force, and the other one.
    """
    trusted = authority
    for number in range(times):
        folder = authority.folder / str(number)
        folder.mkdir()
        new = Authority(folder)
        made = new.server()
        put(pair.cert, made.cert.read_bytes())
        yield trusted, new
        put(pair.key, made.key.read_bytes())
        yield new, trusted
        trusted = new


def put(path: Path, content: bytes) -> None:
    """Writes a file so that others see it whole, old or new."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    os.replace(beside, path)
