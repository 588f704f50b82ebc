"""`featsvc keys tls-dev DIR`: a local authority, and certificates of it for a server and its callers, for trying."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY

# argparse's type of the object that add_subparsers returns is private.
Subparsers = Any
HERE = ("localhost", "127.0.0.1", "::1")
LIFETIME = timedelta(days=365)
FOR_OWNER, FOR_ALL = 0o600, 0o644


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "make an authority with certificates for a server and its callers, for trying"
    parser = commands.add_parser("tls-dev", help=text, description=text)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where they go; made where it is not there")
    parser.add_argument(
        "--host",
        action="append",
        metavar="NAME",
        help="name of the server beside those of this machine; repeatable",
    )
    parser.add_argument(
        "--client",
        action="append",
        metavar="NAME",
        help="name of a caller, for its certificate; repeatable [client]",
    )
    parser.set_defaults(command=_make, parser=parser)


def _make(flags: dict[str, object]) -> int:
    folder, hosts, callers = flags["folder"], flags["host"] or (), flags["client"] or ("client",)
    # argparse gives a Path and lists of words.
    assert isinstance(folder, Path)
    assert isinstance(hosts, Sequence)
    assert isinstance(callers, Sequence)
    make(folder, hosts, callers)
    shown = f"--tls-cert {folder}/{callers[0]}.pem --tls-key {folder}/{callers[0]}.key"
    print(
        f"{folder} has an authority, ca.pem, and certificates of it for {LIFETIME.days} days. Try:\n"
        f"  featsvc up --profile demo --tls-cert {folder}/server.pem --tls-key {folder}/server.key\n"
        f"  featsvc demo --tls-ca {folder}/ca.pem\n"
        f"and, where the server has --tls-client-ca {folder}/ca.pem and wants to see a certificate too:\n"
        f"  featsvc demo --tls-ca {folder}/ca.pem {shown} --api-key {DEFAULT_KEY}\n"
        f'without --api-key where its file of keys has an entry with certificate = "{callers[0]}"'
    )
    return 0


def make(folder: Path, hosts: Sequence[str], callers: Sequence[str]) -> None:
    """Writes ca.pem, server.pem, server.key and two files for each caller; the authority's key is not kept.

    Raises InvalidArgument where one of them is there already, or cannot be written.
    """
    # Its cryptography is for this command alone.
    trustme = import_module("trustme")
    end = datetime.now(UTC) + LIFETIME
    ca = trustme.CA(organization_name="featsvc tls-dev")
    certificates = {"server": ca.issue_cert(*HERE, *hosts, not_after=end)}
    certificates |= {name: ca.issue_cert(common_name=name, not_after=end) for name in callers}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "ca.pem", ca.cert_pem.bytes(), FOR_ALL)
        for name, certificate in certificates.items():
            chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
            _write(folder / f"{name}.pem", chain, FOR_ALL)
            _write(folder / f"{name}.key", certificate.private_key_pem.bytes(), FOR_OWNER)
    except FileExistsError as error:
        raise InvalidArgument(f"{error.filename} is there already: name another folder") from None
    except OSError as error:
        raise InvalidArgument(f"{error.filename} cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
