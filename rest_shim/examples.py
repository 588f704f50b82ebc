"""A whole example body for each endpoint, made of the contract's examples and defaults."""

from __future__ import annotations

from featsvc.twin.base import OneOrMany
from rest_shim.bodies import Body
from rest_shim.contract import SOURCES


def whole_example(body: type[Body]) -> dict[str, object]:
    """Items by their examples, options by their defaults: an option's example would change what is answered."""
    options = {name for part in body.parts if part.__name__.endswith("Params") for name in part.model_fields}
    example: dict[str, object] = {}
    for name, field in body.model_fields.items():
        if name in SOURCES and name != "image":
            continue
        if name not in options and field.examples:
            example[name] = _single(field.examples[0], OneOrMany in map(type, field.metadata))
        else:
            example[name] = field.default if field.default != () else None
    return example


def _single(value: object, one_or_many: bool) -> object:
    return value[0] if one_or_many and isinstance(value, list) else value
