"""The command line: `featsvc up | serve | batch | demo | drain | keys | models | config | top | verify`."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec

import uvloop

from featsvc import __version__
from featsvc.errors import FeatsvcError, InvalidArgument
from featsvc.logs import is_plain, setup
from featsvc.processes import keep_few_arenas, raise_limit
from featsvc.server.commands import batch as batch_command
from featsvc.server.commands import demo as demo_command
from featsvc.server.commands import drain as drain_command
from featsvc.server.commands import keys as key_commands
from featsvc.server.commands import models as model_commands
from featsvc.server.commands import top as top_command
from featsvc.server.commands import verify as verify_command
from featsvc.server.commands.run import serve, up
from featsvc.server.config.machine import check_machine
from featsvc.server.config.settings import configuration
from featsvc.server.keys.api_keys import own_keys
from featsvc.settings.access import DEFAULT_KEY, SECRETS
from featsvc.settings.attributes import Attribute, attributes
from featsvc.settings.flags import add_flags
from featsvc.settings.sources import (
    TYPED_KEY,
    check_ports,
    check_root_path,
    exposure,
    has_typed_key,
    unknown_variables,
)
from featsvc.settings.tree import GatewaySettings, Settings

log = logging.getLogger("featsvc.server.commands.cli")
SOURCES = (
    "Each setting is also a FEATSVC_... variable (--grpc-port is FEATSVC_GRPC_PORT) and a key of the TOML file of "
    "--config (grpc_port): a flag wins over a variable, and that over the file."
)


def main(arguments: Sequence[str] | None = None, tree: type[Settings] = Settings) -> int:
    """Runs a command; 0 is success, 2 a mistake in the settings or the command."""
    known, others = _parser(tree).parse_known_args(arguments)
    flags = vars(known)
    command, parser = flags.pop("command"), flags.pop("parser")
    if others:
        parser.error(_unknown(others, parser))
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


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What to say of flags that a command does not have: argparse would show the usage of all commands."""
    flags = re.findall(r"--[a-z0-9-]+", parser.format_help())
    near = get_close_matches(words[0].partition("=")[0], flags, 3)
    nearest = f"did you mean {', '.join(near)}? " if near else ""
    return f"not known: {' '.join(words)}; {nearest}`{parser.prog} --help` lists what there is"


def _parser(tree: type[Settings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="featsvc", description="CLIP, DINO and SAM2 over gRPC and REST.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text, settings in (
        ("up", _up, "gRPC server and the three REST ports in one go", tree),
        ("serve", _serve, "gRPC server alone", GatewaySettings),
        ("config", _config, "print the settings in force, and where each came from", tree),
    ):
        # All flags in a row would be a page before the first one that is explained.
        sub = commands.add_parser(name, help=text, description=text, usage=f"featsvc {name} [FLAG ...]")
        sub.epilog = SOURCES
        add_flags(sub, attributes(settings))
        if name != "config":
            text = "stop when standard input ends, for programs that start this one"
            sub.add_argument("--end-with-stdin", action="store_true", help=text)
        sub.set_defaults(command=partial(command, tree), parser=sub)
    batch_command.add(commands)
    demo_command.add(commands)
    drain_command.add(commands)
    key_commands.add(commands)
    model_commands.add(commands)
    top_command.add(commands)
    verify_command.add(commands)
    return parser


def _up(tree: type[Settings], flags: dict[str, object]) -> int:
    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise InvalidArgument(
            "up needs FastAPI and uvicorn for the REST ports: pip install '.[rest]' at the top of a clone, or "
            "`featsvc serve` for gRPC alone"
        )
    return _run(tree, flags, rest=True)


def _serve(tree: type[Settings], flags: dict[str, object]) -> int:
    return _run(tree, flags, rest=False)


def _run(tree: type[Settings], flags: dict[str, object], *, rest: bool) -> int:
    found = configuration(flags, tree)
    settings = found.settings
    if rest:
        check_ports(settings, attributes(tree))
        if settings.page:
            check_root_path(settings.root_path)
    if is_plain(settings.log_format, sys.stderr) and found.origins["log_level"] == "default":
        # A line for each call is for programs; a person sees what is wrong.
        settings = replace(settings, log_level="warning")
    setup(settings.log_level, settings.log_format)
    check_machine()
    raise_limit()
    keep_few_arenas()
    keys = own_keys(settings)
    for warning in unknown_variables(tree):
        log.warning(warning)
    if has_typed_key(found):
        log.warning(TYPED_KEY)
    if exposed := exposure(settings):
        log.warning(exposed)
    return uvloop.run((up if rest else serve)(settings, keys, bool(flags["end_with_stdin"])))


def _config(tree: type[Settings], flags: dict[str, object]) -> int:
    found = configuration(flags, tree)
    rows = [
        (f"{each.name} = {_value(each, found.settings)}", found.origins[each.name])
        for each in attributes(tree)
    ]
    width = max(len(row) for row, _ in rows)
    for row, origin in rows:
        print(f"{row:<{width}}  # {origin}")
    for warning in unknown_variables(tree):
        print(f"featsvc: {warning}", file=sys.stderr)
    return 0


def _value(attribute: Attribute, settings: Settings) -> str:
    value = getattr(settings, attribute.name)
    if attribute.name in SECRETS and value:
        return "(hidden)"
    if attribute.name == "api_key" and not settings.api_key_file:
        return DEFAULT_KEY
    return attribute.written.text(value)
