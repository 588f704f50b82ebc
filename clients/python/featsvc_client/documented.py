"""The options of the service in the signature and the docstring of a function, for `help` and for editors.

Type checkers have them from the keyword types (`Unpack[...]`); what runs has them from here. Nothing names an option:
they come from the generated classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from inspect import Parameter
from textwrap import fill
from typing import Any, ForwardRef, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from featsvc.v1 import params

# Any: functions of every signature.
Function = TypeVar("Function", bound=Callable[..., Any])
WIDTH = 100


def documented(
    *parts: type[BaseModel], beside: Mapping[str, str] | None = None
) -> Callable[[Function], Function]:
    """Lists the fields of these messages, and other keywords with their meanings; what the function does stays."""

    def described(function: Function) -> Function:
        found = inspect.signature(function)
        own = [each for each in found.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        options = [*_options(parts), *(Parameter(name, Parameter.KEYWORD_ONLY) for name in beside or ())]
        taken = {each.name for each in own}
        more = [each for each in options if each.name not in taken]
        # Any: inspect and help read it; it is declared nowhere.
        written: Any = function
        written.__signature__ = found.replace(parameters=[*own, *more])
        lines = [_line(name, field) for part in parts for name, field, _ in _fields(part)]
        lines += [_entry(name, "", what) for name, what in (beside or {}).items()]
        written.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        return function

    return described


def _fields(part: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Any]]:  # Any: an annotation
    """Those fields that are keywords, with the types that callers give; of a picture its source is not."""
    keywords = getattr(params, part.__name__).__annotations__
    for name, field in part.model_fields.items():
        if name in keywords:
            yield name, field, keywords[name]


def _options(parts: tuple[type[BaseModel], ...]) -> Iterator[Parameter]:
    """Each field as a keyword, of the type that callers give."""
    for part in parts:
        for name, field, kind in _fields(part):
            yield Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                annotation=kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind,
                default=Parameter.empty if field.is_required() else _default(field),
            )


def _default(field: FieldInfo) -> object:
    found = field.get_default(call_default_factory=True)
    return found.value if isinstance(found, Enum) else found


def _line(name: str, field: FieldInfo) -> str:
    default = "" if field.is_required() or field.default in (None, ()) else f" [{_default(field)}]"
    return _entry(name, default, field.description or "")


def _entry(name: str, default: str, what: str) -> str:
    return fill(
        f"{name}{default}: {what}",
        WIDTH,
        initial_indent="    ",
        subsequent_indent="        ",
        break_on_hyphens=False,
    )
