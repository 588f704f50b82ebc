"""Validation errors as (field, message) pairs: the same over gRPC and REST, and never with the input in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from featsvc.errors import FieldViolation
from featsvc.fields.base import MOST_TOLD, Parameters
from featsvc.fields.words import in_words
from featsvc.twin.messages import PARAMETERS, parameters_of
from featsvc.twin.methods import QUESTION

PARAMETER = re.compile(rf"{PARAMETERS}\.(\w+)")
UNKNOWN = "extra_forbidden"
LONGEST_NAME = 64
"""Letters of an unknown name that are looked at: it is the caller's own, and may be megabytes."""
ALIKE = 0.7
FLAT = ((), (PARAMETERS,), (QUESTION, PARAMETERS))
"""Where a misspelt name may be that of any message: REST and the Python clients take all names side by side."""


def violations(error: ValidationError, twin: type[BaseModel] | None = None) -> tuple[FieldViolation, ...]:
    """What is wrong with which field, each by its dotted path in the request of this twin; of many mistakes the first.

    Where a question is one field of a message, as in streams, its own fields are named as if it came alone.
    """
    found = tuple(violation(each) for each in first_mistakes(error, twin))
    question: Any = twin  # Any: a class, but pydantic's annotations may be anything
    if twin is not None and QUESTION in twin.model_fields:
        question = twin.model_fields[QUESTION].annotation
        found = tuple(replace(each, field=each.field.removeprefix(f"{QUESTION}.")) for each in found)
    parameters = parameters_of(question)
    return found if parameters is None else in_holders(found, parameters)


def in_holders(found: Iterable[FieldViolation], parameters: type[Parameters]) -> tuple[FieldViolation, ...]:
    """The same, each parameter in the field of the request that holds it: `params.points` is `features.points`."""
    return tuple(replace(each, field=_in_holder(each.field, parameters)) for each in found)


def _in_holder(field: str, parameters: type[Parameters]) -> str:
    named = PARAMETER.match(field)
    holder = None if named is None else parameters.holder(named[1])
    return field if holder is None else holder + field.removeprefix(PARAMETERS)


# Any: pydantic's ErrorDetails
def first_mistakes(
    error: ValidationError, twin: type[BaseModel] | None = None
) -> Sequence[Mapping[str, Any]]:
    """The first of pydantic's findings about a class; the last of them says that there are more."""
    found = error.errors(include_url=False, include_input=False)
    mistakes: list[Mapping[str, Any]] = [{**each, "msg": _said(each, twin)} for each in found[:MOST_TOLD]]
    if more := len(found) - len(mistakes):
        # Lists are not looked through to their end.
        mistakes[-1] = {**mistakes[-1], "msg": f"{mistakes[-1]['msg']} (and at least {more} more)"}
    return mistakes


def _said(found: Mapping[str, Any], twin: type[BaseModel] | None) -> str:
    said = in_words(found)
    if found["type"] != UNKNOWN or twin is None:
        return said
    *path, name = found["loc"]
    known = tuple(_at(twin, path))
    near = _alike(str(name), known)
    if not near and tuple(path) in FLAT:
        near = _alike(str(name), _names(twin))
    return f"{said}: did you mean {near}?" if near else f"{said}; known are {', '.join(known)}"


def _alike(name: str, known: Iterable[str]) -> str:
    """The one that was probably meant, empty where none was; never the name itself, which is known elsewhere."""
    others = (each for each in known if each != name)
    return next(iter(get_close_matches(name[:LONGEST_NAME], others, 1, ALIKE)), "")


@cache
def _names(twin: type[BaseModel]) -> frozenset[str]:
    """Of all fields of a class that hold no message, and of those of its messages."""
    inside = {name: _message(field.annotation) for name, field in twin.model_fields.items()}
    own = {name for name, message in inside.items() if message is None}
    return frozenset(own.union(*(_names(message) for message in inside.values() if message)))


def _at(twin: type[BaseModel], path: Iterable[object]) -> Iterable[str]:
    """Names of the fields of the message at a place."""
    for part in path:
        field = twin.model_fields.get(str(part))
        twin = (None if field is None else _message(field.annotation)) or twin
    return twin.model_fields


def _message(annotation: Any) -> type[BaseModel] | None:  # Any: whatever Python takes for a type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_message, get_args(annotation))), None)


def violation(error: Mapping[str, object]) -> FieldViolation:
    """One entry of pydantic's (or FastAPI's) error list."""
    location, context = error.get("loc", ()), error.get("ctx", {})
    parts = list(location) if isinstance(location, Iterable) else []
    if isinstance(context, Mapping) and "field" in context:
        parts.append(str(context["field"]))
    return FieldViolation(dotted(parts), str(error["msg"]))


def dotted(parts: Iterable[object]) -> str:
    """A path as `prompts[0].box`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
