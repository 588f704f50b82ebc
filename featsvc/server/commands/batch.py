"""`featsvc batch`: data sets over Ray, without a server."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from featsvc.errors import InvalidArgument

TEXT = "features and masks of data sets, on a Ray cluster and without a server"
MORE = (
    "COMMAND is as of featsvc-client: extract clip, extract dino, masks auto, similarity or embed; "
    "each has a --help of its own."
)
NEEDED = {"ray": "'.[ray]'", "pyarrow": "'.[ray]'", "featsvc_client": "'./clients/python[bulk]'"}


# Any: argparse names its subparsers' type only privately.
def add(commands: Any) -> None:
    """Adds the command; what stands behind it is read by the command itself."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "batch",
        help=TEXT,
        description=TEXT,
        epilog=MORE,
        usage="featsvc batch COMMAND INPUT ... --out FOLDER",
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(command=_batch, parser=parser)


def _batch(flags: dict[str, Any]) -> int:
    for module, source in NEEDED.items():
        if find_spec(module) is None:
            raise InvalidArgument(
                f"batch: {module} is not installed: pip install {source} at the top of a clone"
            )
    # By its name: it has torch, which this process of a server never imports.
    command = import_module("featsvc.batch.command")
    return int(command.main(flags["words"]))
