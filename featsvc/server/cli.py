"""The command line: `featsvc up | serve | models | config | verify`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import uvloop

from featsvc import __version__
from featsvc.errors import FeatsvcError
from featsvc.server import model_commands, verify_command
from featsvc.server.keys import keys_in_force
from featsvc.server.logs import setup
from featsvc.server.run import serve, up
from featsvc.server.settings import names
from featsvc.server.sources import Configuration, add_flags, configuration, shown

SECRET = ("api_key",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 is success, 2 a mistake in the settings or the command."""
    flags = vars(_parser().parse_args(arguments))
    command = flags.pop("command")
    try:
        return int(command(flags))
    except FeatsvcError as error:
        print(f"featsvc: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough (`| head`); without this Python complains once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="featsvc", description="CLIP, DINO and SAM2 over gRPC and REST.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("up", _up, "gRPC server and the three REST ports in one go"),
        ("serve", _serve, "gRPC server alone"),
        ("config", _config, "print the settings in force, and where each came from"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        add_flags(sub)
        if name != "config":
            text = "stop when standard input ends, for programs that start this one"
            sub.add_argument("--end-with-stdin", action="store_true", help=text)
        sub.set_defaults(command=command)
    model_commands.add(commands)
    verify_command.add(commands)
    return parser


def _up(flags: dict[str, object]) -> int:
    return _run(flags, rest=True)


def _serve(flags: dict[str, object]) -> int:
    return _run(flags, rest=False)


def _run(flags: dict[str, object], *, rest: bool) -> int:
    found = configuration(flags)
    setup(found.settings.log_level)
    keys = keys_in_force(found)
    return uvloop.run((up if rest else serve)(found.settings, keys, bool(flags["end_with_stdin"])))


def _config(flags: dict[str, object]) -> int:
    found = configuration(flags)
    rows = [(name, _value(found, name), found.origins[name]) for name in names()]
    width = max(len(f"{name} = {value}") for name, value, _ in rows)
    for name, value, origin in rows:
        print(f"{f'{name} = {value}':<{width}}  # {origin}")
    return 0


def _value(found: Configuration, name: str) -> str:
    if name in SECRET and found.origins[name] != "default":
        return "(hidden)"
    return shown(getattr(found.settings, name))
