"""Validation errors as (field, message) pairs: the same over gRPC and REST, and never with the input in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from featsvc.errors import FieldViolation


def violations(error: ValidationError) -> tuple[FieldViolation, ...]:
    """What is wrong with which field, each field by its dotted path."""
    return tuple(violation(each) for each in error.errors(include_url=False, include_input=False))


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
