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
CA, CA_KEY = "ca.pem", "ca.key"


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "make an authority with certificates for a server and its callers, for trying"
    parser = commands.add_parser("tls-dev", help=text, description=text)
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="where they go, a new folder; one that this has made gets certificates for further callers",
    )
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
    is_new = not (folder / CA).exists()
    make(folder, hosts, callers)
    if not is_new:
        print(f"{folder} has certificates for {', '.join(map(str, callers))} now, for {LIFETIME.days} days.")
        return 0
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
    """Writes ca.pem and ca.key, server.pem and server.key, and two files for each caller.

    Where the folder has an authority, that makes certificates of further callers alone. Raises InvalidArgument
    where a file is there already, or cannot be written, or the authority is of no use.
    """
    # Its cryptography is for this command alone.
    trustme = import_module("trustme")
    end = datetime.now(UTC) + LIFETIME
    files: dict[str, tuple[bytes, int]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CA).exists():
            if hosts:
                raise InvalidArgument(f"{folder} has a server's certificate: name another folder for --host")
            ca = _found(trustme.CA, folder)
            certificates = []
        else:
            ca = trustme.CA(organization_name="featsvc tls-dev")
            files = {CA: (ca.cert_pem.bytes(), FOR_ALL), CA_KEY: (ca.private_key_pem.bytes(), FOR_OWNER)}
            certificates = [("server", ca.issue_cert(*HERE, *hosts, not_after=end))]
        certificates += [(name, ca.issue_cert(common_name=name, not_after=end)) for name in callers]
        for name, certificate in certificates:
            if f"{name}.pem" in files:
                raise InvalidArgument(
                    f"--client {name}: ca and server are names of others here, take another"
                )
            chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
            files[f"{name}.pem"] = chain, FOR_ALL
            files[f"{name}.key"] = certificate.private_key_pem.bytes(), FOR_OWNER
        # Before anything is written: half of it would be in the way of the next try.
        if there := [name for name in files if (folder / name).exists()]:
            raise InvalidArgument(
                f"{folder / there[0]} is there already: take another name, or another folder"
            )
        for name, (content, mode) in files.items():
            _write(folder / name, content, mode)
    except OSError as error:
        raise InvalidArgument(f"{error.filename} cannot be written: {error.strerror}") from None


def _found(kind: Any, folder: Path) -> Any:  # Any: trustme is imported where it is needed
    """The authority of the folder."""
    try:
        return kind.from_pem((folder / CA).read_bytes(), (folder / CA_KEY).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"{folder} has an authority, {CA}, and its key, {CA_KEY}, cannot be used ({error}): name another folder"
        ) from None


def _write(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
