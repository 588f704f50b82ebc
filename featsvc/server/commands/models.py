"""`featsvc models list | check | pull`: what there is, which file each would use, and fetching weights beforehand."""

from __future__ import annotations

import sys
from typing import Any, get_args

from featsvc.catalog import Entry, catalog, check, entry_of, find_weights
from featsvc.catalog.choice import default_models
from featsvc.errors import FeatsvcError
from featsvc.server.config.devices import engine_options
from featsvc.server.config.settings import configuration
from featsvc.settings.attributes import attributes
from featsvc.settings.computing import Weights
from featsvc.settings.flags import add_flags
from featsvc.settings.tree import Settings
from featsvc.work.operations import Family

# argparse's type of the object that add_subparsers returns is private.
Subparsers = Any


def add(commands: Subparsers) -> None:
    """Adds the command and its three sub-commands."""
    models = commands.add_parser(
        "models", help="list, check or pull models", description="The models of the catalog."
    )
    subcommands = models.add_subparsers(required=True, metavar="list|check|pull")
    for name, command, text in (
        ("list", _list, "all models or those named: licence, size, whether the weights are here"),
        ("check", _check, "the file that each model would use, or what is missing; exit status 1 if any is"),
        ("pull", _pull, "fetch the weights of the models named"),
    ):
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.add_argument("keys", nargs="+" if name == "pull" else "*", metavar="MODEL", help="key of a model")
        sub.add_argument("--family", choices=get_args(Family), help="only models of this family")
        add_flags(sub, attributes(Weights))
        sub.set_defaults(command=command, parser=sub)


def _chosen(flags: dict[str, object]) -> list[Entry]:
    keys = flags.pop("keys")
    family = flags.pop("family")
    entries = [entry_of(key) for key in keys] if isinstance(keys, list) and keys else list(catalog().values())
    return [entry for entry in entries if family in (None, entry.family)]


def _list(flags: dict[str, object]) -> int:
    entries = _chosen(flags)
    place = engine_options(configuration(flags, Settings).settings)
    notes = {entry.key: "default" for entry in default_models("default")}
    notes |= {entry.key: "default of --profile demo" for entry in default_models("demo")}
    key_width = max((len(entry.key) for entry in entries), default=0)
    print(f"{'family':<6} {'model':<{key_width}} {'weights':<8} {'size':>12}  {'licence':<14} what it is")
    for entry in entries:
        size = f"{entry.nbytes / 1e6:,.0f} MB" if entry.nbytes else "size unknown"
        weights = "here" if check(entry, place).file else "not here"
        note = f" ({notes[entry.key]})" if entry.key in notes else ""
        print(
            f"{entry.family:<6} {entry.key:<{key_width}} {weights:<8} {size:>12}  {entry.licence:<14} "
            f"{entry.description}{note}"
        )
    return 0


def _check(flags: dict[str, object]) -> int:
    """Exit status 1 where one of the models has no weights here."""
    entries = _chosen(flags)
    place = engine_options(configuration(flags, Settings).settings)
    missing = 0
    for entry in entries:
        status = check(entry, place)
        missing += status.file is None
        print(f"{entry.key}: {status.file or 'missing: ' + status.missing}")
    return int(missing > 0)


def _pull(flags: dict[str, object]) -> int:
    entries = _chosen(flags)
    place = engine_options(configuration(flags, Settings).settings)
    failed = 0
    for entry in entries:
        try:
            print(f"{entry.key}: {find_weights(entry, place)}")
        except FeatsvcError as error:
            failed += 1
            print(error.message, file=sys.stderr)  # it begins with the key
    return int(failed > 0)
