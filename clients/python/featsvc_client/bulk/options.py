"""The service's parameters as options of the command line: names, defaults, choices and help come from the contract."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from featsvc.v1 import schema
from featsvc_client.bulk.commands import Command

# Before the names in the parsed arguments, so that none of ours can be taken for one of the service's.
PREFIX = "option."


def add(parser: argparse.ArgumentParser, command: Command) -> None:
    """Adds an option for each parameter of a command."""
    group = parser.add_argument_group("parameters of the service")
    for name, field in fields(command):
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=PREFIX + name,
            required=field.is_required(),
            # An option that is not given is not sent: the server has the defaults.
            default=argparse.SUPPRESS,
            help=described(field),
            **_taken(field),
        )


def parameters(arguments: Mapping[str, object]) -> dict[str, object]:
    """The parameters among the parsed arguments."""
    return {name.removeprefix(PREFIX): value for name, value in arguments.items() if name.startswith(PREFIX)}


def fields(command: Command) -> Iterator[tuple[str, FieldInfo]]:
    """Name and field of every parameter."""
    for part in command.parts.values():
        yield from part.model_fields.items()


def described(field: FieldInfo) -> str:
    """What the contract says about it."""
    shown = "" if field.is_required() or field.default in (None, ()) else f" [{_text(field.default)}]"
    # argparse formats help with %.
    kind = _kind(field.annotation)
    more = " May be given several times." if _items(kind) is str else ""
    more += " A .npy file." if kind is schema.Tensor else ""
    return f"{field.description}{more}{shown}".replace("%", "%%")


def _taken(field: FieldInfo) -> dict[str, Any]:  # Any: whatever argparse takes
    """How argparse is to read a value."""
    kind = _kind(field.annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"choices": [each.value for each in kind]}
    if kind is str:
        return {"metavar": "WORD"}
    if _items(kind) is str:
        # Once for each text: an option that takes many would take the inputs after it too.
        return {"action": "append", "metavar": "TEXT"}
    if kind is schema.Tensor:
        return {"type": _array, "metavar": "FILE"}
    return {"type": _json, "metavar": "NUMBER" if kind in (int, float) else "JSON"}


def _kind(annotation: Any) -> Any:  # Any: an annotation
    """The type of a value without what restricts it, and without None."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    choices = [each for each in get_args(annotation) if each is not type(None)]
    if type(None) in get_args(annotation) and len(choices) == 1:
        return _kind(choices[0])
    return annotation


def _items(kind: Any) -> Any:  # Any: an annotation
    """The type of the items of a list; None where it is none."""
    return _kind(get_args(kind)[0]) if get_origin(kind) is tuple else None


def _json(written: str) -> Any:  # Any: JSON
    try:
        return json.loads(written)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{written!r} is no JSON (a number, null, or such as [[1, 2]])"
        ) from None


def _array(path: str) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from None
    return array


def _text(value: object) -> str:
    return value.value if isinstance(value, StrEnum) else json.dumps(value)
