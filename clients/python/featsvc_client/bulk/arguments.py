"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.codec.mask_pictures import inside
from featsvc.environment import KEY
from featsvc.v1 import schema
from featsvc_client import channel
from featsvc_client.bulk import basis, options
from featsvc_client.bulk.basis import Sample
from featsvc_client.bulk.commands import COMMANDS, Command
from featsvc_client.bulk.formats import FORMATS
from featsvc_client.exemplars import Exemplar
from featsvc_client.tls import Tls

AFTER = """Exit status: 0 all done, 1 some pictures failed, 2 refused, 3 the server was away too long, 130 stopped.
A run that was stopped in any way goes on with the same command."""
INPUTS = "folders, globs, .txt files that list inputs, tar archives, Parquet files, videos and pictures, in any mixture"
PATIENCE_S = 600.0
SHARDED = tuple(name for name, each in FORMATS.items() if each.read)


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read, and what is written."""

    inputs: tuple[str, ...]
    column: str
    """Of tables: that with the pictures."""
    out: Path
    form: str
    per_file: int


@dataclass(frozen=True, kw_only=True)
class CommandLine(Files):
    """What the command line says."""

    command: Command
    parameters: dict[str, object]
    """The service's parameters."""
    every: int
    preview: bool
    again: bool
    retry_failed: bool
    dry_run: bool
    quiet: bool
    target: str
    api_key: channel.ApiKey
    tls: Tls | None
    timeout: float
    priority: int
    concurrency: int
    patience: float
    exemplar: Exemplar | None = None
    """Objects of another picture that are looked for."""
    sample: Sample | None = None
    """Pictures over which a basis for all is fitted."""


def parsed(words: list[str] | None = None) -> CommandLine:
    """The command line; ends the process, as argparse does, where it makes no sense."""
    parser = _parser()
    named = vars(parser.parse_args(words))
    command: Command = named.pop("command")
    parameters = options.parameters(named)
    ours = {name: value for name, value in named.items() if not name.startswith(options.PREFIX)}
    key_file: Path | None = ours.pop("api_key_file")
    try:
        key = ours["api_key"] if key_file is None else key_file.read_text().strip()
    except OSError as error:
        parser.error(f"--api-key-file: {error}")
    try:
        ours["tls"] = Tls.of(ours.pop("tls_ca"), ours.pop("tls_cert"), ours.pop("tls_key"))
    except ValueError as error:
        parser.error(str(error))
    ours["exemplar"], ours["sample"] = _exemplar(ours, parser), basis.taken(ours)
    command_line = CommandLine(
        **{**ours, "api_key": key, "inputs": tuple(ours["inputs"])}, command=command, parameters=parameters
    )
    check_files(command_line, parser)
    return command_line


def check_files(files: Files, parser: argparse.ArgumentParser) -> None:
    """Ends the process where the format does not hold what is wanted."""
    if files.per_file > 1 and files.form not in SHARDED:
        parser.error(
            f"--per-file: {' and '.join(SHARDED)} hold many pictures in a file, {files.form} does not"
        )


def _parser() -> argparse.ArgumentParser:
    def add(parser: argparse.ArgumentParser, command: Command) -> None:
        add_files(parser, command)
        _add_more_of_files(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="tell what would be done, and how long it may take"
        )
        add_run(parser)
        if schema.ObjectQuery in command.parts.values():
            _add_exemplar(parser)
        if command.has_components:
            basis.add(parser)
        _add_server(parser)
        options.add(parser, command)

    return tree("featsvc-client", "Asks a featsvc server about many pictures.", AFTER, add)


def tree(
    name: str, description: str, after: str, add: Callable[[argparse.ArgumentParser, Command], None]
) -> argparse.ArgumentParser:
    """All commands, each with the arguments that `add` gives it."""
    parser = argparse.ArgumentParser(name, description=description)
    groups: dict[tuple[str, ...], argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    groups[()] = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        *outer, last = command.words
        if tuple(outer) not in groups:
            # One word before another, such as extract before clip.
            kinds = "; ".join(each.help for each in COMMANDS if each.words[0] == outer[0])
            group = groups[()].add_parser(outer[0], help=kinds)
            groups[tuple(outer)] = group.add_subparsers(required=True, metavar="KIND")
        own = groups[tuple(outer)].add_parser(
            last, help=command.help, description=command.help, epilog=after, allow_abbrev=False
        )
        own.set_defaults(command=command)
        add(own, command)
    return parser


def add_files(parser: argparse.ArgumentParser, command: Command, inputs: str = INPUTS) -> None:
    """What is read, as `inputs` says, and what is written."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help=inputs,
    )
    parser.add_argument(
        "--column",
        default="",
        metavar="NAME",
        help="of Parquet files: the column with the pictures [the only one of bytes]",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where results go")
    parser.add_argument(
        "--format",
        dest="form",
        choices=command.formats,
        default=command.formats[0],
        help="of results [%(default)s]",
    )
    parser.add_argument(
        "--per-file", type=_positive, default=1, metavar="N", help="pictures in one file [%(default)s]"
    )


def _add_more_of_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--every",
        type=_positive,
        default=1,
        metavar="N",
        help="take every n-th frame of videos [%(default)s]",
    )
    parser.add_argument("--preview", action="store_true", help="write pictures for people too")


def add_run(parser: argparse.ArgumentParser) -> None:
    """What is done anew, and what is told."""
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed in earlier runs")
    parser.add_argument(
        "--again", action="store_true", help="do all anew where the folder has results of other parameters"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors of the command itself")


def _add_exemplar(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("objects to find again")
    group.add_argument(
        "--exemplar",
        type=Path,
        metavar="PICTURE",
        help="a picture whose objects are looked for, in place of texts and vectors; they are described first, "
        "by the same parameters",
    )
    group.add_argument(
        "--exemplar-box",
        type=float,
        nargs=4,
        action="append",
        metavar=("X0", "Y0", "X1", "Y1"),
        help="a box around one of them, in pixels, of which SAM2 makes a mask. May be given several times.",
    )
    group.add_argument(
        "--exemplar-mask",
        type=Path,
        action="append",
        metavar="FILE",
        help="the mask of one of them: a picture of the same size, transparent where it is not, or if it is opaque "
        "black there. May be given several times.",
    )


def _exemplar(named: dict[str, Any], parser: argparse.ArgumentParser) -> Exemplar | None:
    """What is to be found again; takes it out of the arguments. Any: values of argparse."""
    path, boxes, files = (named.pop(name, None) for name in ("exemplar", "exemplar_box", "exemplar_mask"))
    if path is None:
        if boxes or files:
            parser.error("--exemplar-box and --exemplar-mask are of a picture: name it by --exemplar")
        return None
    if (boxes is None) == (files is None):
        parser.error("--exemplar: give --exemplar-box or --exemplar-mask, one of the two")
    try:
        content = path.read_bytes()
    except OSError as error:
        parser.error(f"--exemplar: {error}")
    try:
        masks = _masks(files) if files else None
    except (OSError, ValueError) as error:
        parser.error(f"--exemplar-mask: {error}")
    return Exemplar(content, boxes or (), masks)


def _masks(files: Sequence[Path]) -> NDArray[np.bool_]:
    """Masks in pictures, N x H x W; raises ValueError where they differ in size."""
    masks: list[NDArray[np.bool_]] = []
    for path in files:
        with Image.open(path) as opened:
            masks.append(inside(opened))
        (height, width), (first_height, first_width) = masks[-1].shape, masks[0].shape
        if masks[-1].shape != masks[0].shape:
            size = f"{path} has {width} x {height} pixels, and {files[0]} {first_width} x {first_height}"
            raise ValueError(f"{size}: all must have the size of the picture")
    return np.stack(masks)


def _add_server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument(
        "--target",
        default=channel.TARGET,
        metavar="HOST:PORT",
        help="[%(default)s]; grpcs://HOST:PORT uses TLS",
    )
    group.add_argument(
        "--api-key",
        default=channel.ByDefault.KEY,
        metavar="KEY",
        help=f"[{KEY}; else {channel.DEFAULT_KEY}, or none with --tls-cert]",
    )
    group.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="a file with the key, which nobody else sees"
    )
    group.add_argument("--tls-ca", type=Path, metavar="FILE", help="use TLS, and trust these authorities")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate to show to the server")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key")
    group.add_argument(
        "--timeout",
        type=float,
        default=channel.TIMEOUT_S,
        metavar="SECONDS",
        help="for one answer [%(default)s]",
    )
    group.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="from -9 to 9, beside other requests with the same key: higher ones first [%(default)s]",
    )
    group.add_argument(
        "--concurrency",
        type=_positive,
        default=32,
        metavar="N",
        help="most questions under way [%(default)s]",
    )
    group.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        metavar="SECONDS",
        help="how long the server may be away or full [%(default)s]",
    )


def _positive(written: str) -> int:
    number = int(written)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
