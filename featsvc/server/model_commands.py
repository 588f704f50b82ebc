"""`featsvc models list | check | pull`: what there is, which file each would use, and fetching weights beforehand."""

from __future__ import annotations

import sys
from typing import Any

from featsvc.catalog import Entry, catalog, check, entry_of, find_weights
from featsvc.errors import FeatsvcError
from featsvc.server.places import engine_options
from featsvc.server.sources import add_flags, configuration

# argparse's type of the object that add_subparsers returns is private.
Subparsers = Any


def add(commands: Subparsers) -> None:
    """Adds the command and its three sub-commands."""
    models = commands.add_parser(
        "models", help="list, check or pull models", description="The models of the catalog."
    )
    subcommands = models.add_subparsers(required=True, metavar="list|check|pull")
    for name, command, text in (
        ("list", _list, "all models, or those named"),
        ("check", _check, "the file that each model would use, or what is missing"),
        ("pull", _pull, "fetch the weights of the models named"),
    ):
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.add_argument("keys", nargs="+" if name == "pull" else "*", metavar="MODEL", help="key of a model")
        sub.add_argument("--family", choices=("clip", "dino", "sam2"), help="only models of this service")
        add_flags(sub)
        sub.set_defaults(command=command)


def _chosen(flags: dict[str, object]) -> list[Entry]:
    keys = flags.pop("keys")
    family = flags.pop("family")
    entries = [entry_of(key) for key in keys] if isinstance(keys, list) and keys else list(catalog().values())
    return [entry for entry in entries if family in (None, entry.family)]


def _list(flags: dict[str, object]) -> int:
    for entry in _chosen(flags):
        size = f"{entry.nbytes / 1e6:,.0f} MB" if entry.nbytes else "size unknown"
        print(f"{entry.family:<5} {entry.key:<50} {size:>12}  {entry.licence:<14} {entry.description}")
    return 0


def _check(flags: dict[str, object]) -> int:
    """Exit status 1 where one of the models named has no weights; a list of all is only information."""
    named = bool(flags["keys"])
    entries = _chosen(flags)
    place = engine_options(configuration(flags).settings)
    missing = 0
    for entry in entries:
        status = check(entry, place)
        missing += status.found is None
        print(f"{entry.key}: {status.found or 'missing: ' + status.missing}")
    return int(named and missing > 0)


def _pull(flags: dict[str, object]) -> int:
    entries = _chosen(flags)
    place = engine_options(configuration(flags).settings)
    failed = 0
    for entry in entries:
        try:
            print(f"{entry.key}: {find_weights(entry, place)}")
        except FeatsvcError as error:
            failed += 1
            print(f"{entry.key}: {error.message}", file=sys.stderr)
    return int(failed > 0)
