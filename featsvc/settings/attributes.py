"""The attributes of a tree of settings: their names, ranges, defaults and docstrings, read from its classes."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from featsvc.fields.words import in_words
from featsvc.settings.kinds import COMMON, Written


@dataclass(frozen=True)
class Attribute:
    """One setting."""

    name: str
    default: Any  # Any: each has a type of its own
    kind: Any  # Any: a type as annotated, with its range
    group: type

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """As the environment has it."""
        return f"FEATSVC_{self.name.upper()}"

    @property
    def is_common(self) -> bool:
        """Whether most people set it first."""
        return COMMON in get_args(self.kind)

    @property
    def heading(self) -> str:
        """Under which the help shows it."""
        return COMMON if self.is_common else (self.group.__doc__ or "").partition(".")[0]

    @property
    def written(self) -> Written:
        """How the help shows its values."""
        marks = (mark for mark in get_args(self.kind) if isinstance(mark, Written))
        return next(marks, Written(self.name.rpartition("_")[2].upper()))

    @property
    def description(self) -> str:
        """The docstring below it."""
        return _docstrings(self.group.__module__)[self.group.__name__, self.name]

    def parsed(self, value: object) -> Any:  # Any: what its kind says
        """A value of the command line, the environment or a file. Raises ValueError that says what fits."""
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            return TypeAdapter(self.kind).validate_python(text)
        except ValidationError as error:
            said = in_words(error.errors(include_url=False)[0])
            raise ValueError(f"{self.name}: {text!r} {said}") from None

    def typed(self, value: object) -> str:
        """The flag that sets the value."""
        if isinstance(value, bool):
            return self.flag if value else self.flag.replace("--", "--no-", 1)
        return f"{self.flag}={self.text(value)}"

    def text(self, value: object) -> str:
        """A value of this setting as the command line would take it."""
        return shown(value) if value is not None else self.written.text(None)


def shown(value: object) -> str:
    """A value as the command line would take it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def attributes(tree: type) -> tuple[Attribute, ...]:
    """All settings of a class of the tree, group by group."""
    hints = get_type_hints(tree, include_extras=True)
    return tuple(
        Attribute(name, getattr(tree, name), hints[name], group)
        for group in tree.__mro__
        for name in vars(group).get("__annotations__", ())
    )


def names(tree: type) -> tuple[str, ...]:
    """Of all settings of a class of the tree."""
    return tuple(each.name for each in attributes(tree))


@lru_cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """The texts below the attributes of a module's classes."""
    return dict(_texts(ast.parse(inspect.getsource(sys.modules[module]))))


def _texts(module: ast.Module) -> Iterator[tuple[tuple[str, str], str]]:
    for group in ast.walk(module):
        if not isinstance(group, ast.ClassDef):
            continue
        for node, below in zip(group.body, group.body[1:], strict=False):
            match node, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield (group.name, name), inspect.cleandoc(text)
