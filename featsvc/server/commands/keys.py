"""`featsvc keys new`: a key for somebody, or an entry for a certificate; and `tls-dev` beside it."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

from featsvc.catalog import entry_of
from featsvc.errors import InvalidArgument
from featsvc.server.commands import tls_dev
from featsvc.server.config.settings import configuration
from featsvc.server.keys.key_file import (
    LIMITS,
    ROLES,
    checked_certificate,
    checked_name,
    entry_text,
    hash_of,
    is_table,
    mark_of,
    new_key,
    tables,
)
from featsvc.settings.tree import Settings
from featsvc.work.caller import Caller

# argparse's type of the object that add_subparsers returns is private.
Subparsers = Any
OWNER_ALONE = 0o600


def add(commands: Subparsers) -> None:
    """Adds the command and its sub-commands."""
    keys = commands.add_parser("keys", help="make keys for callers", description="Keys for callers.")
    subcommands = keys.add_subparsers(required=True, metavar="new|tls-dev")
    text = "make a key, print it once, and add its hash to the file of keys; or an entry for a certificate"
    sub = subcommands.add_parser("new", help=text, description=text)
    sub.add_argument("name", metavar="NAME", help="what logs call whoever has the key")
    sub.add_argument(
        "--role", action="append", choices=ROLES, default=[], help="what it may, once for each [infer]"
    )
    sub.add_argument(
        "--model",
        action="append",
        metavar="KEY",
        default=[],
        help="model that it may use, once for each [all]",
    )
    for each in LIMITS.values():
        sub.add_argument(each.flag, metavar=each.written.placeholder, help=each.description)
    text = (
        "in place of a key, a name in the certificate that the caller shows: its common name, or one of DNS"
    )
    sub.add_argument("--certificate", metavar="SUBJECT", help=text)
    sub.add_argument("--api-key-file", metavar="FILE", help="file of keys; without one the entry is printed")
    sub.set_defaults(command=_new, parser=sub)
    tls_dev.add(subcommands)


def _new(flags: dict[str, Any]) -> int:
    try:
        limits = {name: LIMITS[name].parsed(flags[name]) for name in LIMITS if flags[name] is not None}
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    models = frozenset(entry_of(model).key for model in flags["model"])
    caller = Caller(checked_name(flags["name"]), frozenset(flags["role"] or ["infer"]), models)
    certificate = flags["certificate"]
    key = new_key() if certificate is None else ""
    proof = hash_of(key) if certificate is None else mark_of(checked_certificate(certificate))
    entry = entry_text(caller, proof, limits)
    settings = configuration({"api_key_file": flags["api_key_file"]}, Settings).settings
    if not settings.api_key_file:
        shown = f"{key}\n\nThe key is shown this once. Put its entry" if key else "Put this entry"
        print(f"{shown} into the file of --api-key-file:\n\n{entry}", end="")
        return 0
    path = Path(settings.api_key_file)
    _append(path, caller.name, entry, certificate)
    if not key:
        told = f"{path} lets in as {caller.name!r} who shows a certificate of {certificate!r}, where a server has"
        print(f"{told} --tls-client-ca.", file=sys.stderr)
        return 0
    print(key)
    print(f"This key of {caller.name!r} is shown this once; {path} has its hash.", file=sys.stderr)
    return 0


def _append(path: Path, name: str, entry: str, certificate: str | None) -> None:
    """Adds an entry to the file, in one write: a server may be reading it. Raises InvalidArgument."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ALONE)
    except OSError as error:
        raise InvalidArgument(f"api_key_file: {path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        if not is_table(text):
            raise InvalidArgument(
                f"api_key_file: {path} does not begin with [keys.NAME], as names need it: take another file for all"
            )
        try:
            names = tables(text).get("keys", {})
        except ValueError as error:
            raise InvalidArgument(f"api_key_file: {path} is no TOML: {error}") from None
        if not isinstance(names, dict) or not all(isinstance(each, dict) for each in names.values()):
            raise InvalidArgument(
                f"api_key_file: {path} has other values than tables [keys.NAME]: take them out first"
            )
        if name in names:
            raise InvalidArgument(f"api_key_file: {path} has a key of {name!r} already: take another name")
        if certificate is not None and certificate in (each.get("certificate") for each in names.values()):
            raise InvalidArgument(
                f"api_key_file: {path} has an entry for the certificate of {certificate!r} already"
            )
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        file.write(gap + entry)
