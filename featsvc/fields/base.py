"""What the generated classes of featsvc.v1.schema are made of."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from featsvc.fields.words import not_a_list_of

MOST_TOLD = 8
"""So many mistakes of one request are told: as many as the metadata of a gRPC status hold."""


@dataclass(frozen=True)
class Rule:
    """Something that must hold between the fields of one message: `field` is blamed where `holds` is false."""

    field: str
    holds: Callable[[Mapping[str, object]], bool]
    message: str


@cache
def _all_rules(message: type[BaseModel]) -> tuple[Rule, ...]:
    """The rules of every class that this one inherits from, then its own: those of a request come after its parts'."""
    return tuple(rule for base in reversed(message.__mro__) for rule in base.__dict__.get("rules", ()))


class Message(BaseModel):
    """The twin of a protobuf message: immutable, hashable, and checked when it is made."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        ser_json_bytes="base64",
        val_json_bytes="base64",
        hide_input_in_errors=True,
    )


class Ruled(Message):
    """A message with rules between its fields. Others call nothing of this: it would be a third of checking them."""

    rules: ClassVar[tuple[Rule, ...]] = ()
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        fields_set = self.model_fields_set
        for names in self.one_of:
            if sum(name in fields_set and getattr(self, name) is not None for name in names) != 1:
                raise PydanticCustomError("rule", "give exactly one of {names}", {"names": ", ".join(names)})
        if rules := _all_rules(type(self)):
            values = self._ruled()
            for rule in rules:
                if not rule.holds(values):
                    raise PydanticCustomError("rule", "{text}", {"text": rule.message, "field": rule.field})
        return self

    def _ruled(self) -> Mapping[str, object]:
        """What the rules judge."""
        return dict(self)


class Parameters(Message):
    """All parameters of a call, side by side: a subclass inherits from the twins that hold them in the request."""

    held_by: ClassVar[Mapping[str, type[Message]]] = {}
    """The fields of the request that hold them, with their classes."""

    @classmethod
    def holder(cls, name: str) -> str | None:
        """The field of the request that holds a parameter; None where it is no parameter of this call."""
        return next((holder for holder, part in cls.held_by.items() if name in part.model_fields), None)

    def by_holder(self) -> dict[str, dict[str, object]]:
        """What is set, under the fields of the request that hold it."""
        values = {
            holder: {name: getattr(self, name) for name in part.model_fields if name in self.model_fields_set}
            for holder, part in self.held_by.items()
        }
        return {holder: part for holder, part in values.items() if part}


@dataclass(frozen=True)
class NullMeans:
    """Marks a field in which JSON null stands for `value`."""

    value: int | float

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            partial(_replace_none, self.value), handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


class OneOrMany:
    """Marks a list for which JSON may give a single value."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        inner = handler(schema)
        # A list that may be null is a choice already.
        choices = inner.get("anyOf", [inner])
        return {"anyOf": [choices[0]["items"], *choices]}


class TooMany:
    """Stands for a list that is longer than it may be, so that none of its items is made."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class Few:
    """Marks a list whose items are counted before any is looked at, and of which few mistakes are told.

    pydantic makes an error of a kilobyte for each bad item, in 40 microseconds: a million would stop a server.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Any: core schemas are dictionaries of many forms, this one is a tuple's.
        inner: Any = {**handler(source), "fail_fast": True}
        return core_schema.no_info_wrap_validator_function(
            partial(_few, inner.get("min_length", 0), inner.get("max_length")), inner
        )


class Base64InText:
    """Marks bytes, which are base64 where they come as text: JSON has nothing else for them."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_from_base64, handler(source))


class Number:
    """Marks a number, which true and false are not, though Python has them so."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_number, handler(source))


class Parts:
    """Marks a named tuple, which has so many numbers: what is longer is not looked into."""

    # Any: the type that is marked.
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            partial(_listed_parts, source._fields), handler(source)
        )


def _listed_parts(names: tuple[str, ...], value: object) -> object:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
        raise not_a_list_of(names, ", and here are several such lists")
    _not_over(len(names), value)
    # One finding about the whole, where pydantic would tell of each part that is missing.
    if not isinstance(value, (list, tuple, dict)) or len(value) < len(names):
        raise not_a_list_of(names)
    for part in value.values() if isinstance(value, dict) else value:
        _number(part)
    return value


def _few(least: int, most: int | None, value: object, items: ValidatorFunctionWrapHandler) -> object:
    if most is not None:
        _not_over(most, value)
    try:
        return items(value)
    except ValidationError as error:
        if not isinstance(value, (list, tuple)) or len(value) < least:
            raise
        mistakes = _first_mistakes(value, error, items)
        raise ValidationError.from_exception_data(error.title, mistakes) from None


def _first_mistakes(
    value: Sequence[object], error: ValidationError, items: ValidatorFunctionWrapHandler
) -> list[InitErrorDetails]:
    """Those of the first few bad items; one more than are told shows that there are more."""
    mistakes: list[InitErrorDetails] = []
    start = 0
    while True:
        # Stopped at its first bad item, which may have several mistakes of its own.
        found = error.errors(include_url=False, include_input=False)
        # A list that is left at its first bad item also looks too short.
        found = [each for each in found if each["loc"]] or found
        mistakes += [_moved(each, start) for each in found]
        place = found[0]["loc"][0] if found[0]["loc"] else None
        if len(mistakes) > MOST_TOLD or not isinstance(place, int):
            return mistakes
        start += place + 1
        if start >= len(value):
            return mistakes
        try:
            items(value[start:])
        except ValidationError as further:
            error = further
            if not further.errors(include_url=False, include_input=False)[0]["loc"]:
                # The rest is too short to be a list of its own.
                return mistakes
        else:
            return mistakes


def _moved(found: Any, start: int) -> InitErrorDetails:  # Any: pydantic's ErrorDetails, read as a mapping
    location = found["loc"]
    if location and isinstance(location[0], int):
        location = (location[0] + start, *location[1:])
    context = found.get("ctx", {})
    # Words that are made already hold no places for others.
    kind = PydanticCustomError(found["type"], "{words}", {**context, "words": found["msg"]})
    return InitErrorDetails(type=kind, loc=location, input=None)


def _from_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise PydanticCustomError("base64", "is no valid base64") from None


def _number(value: object) -> object:
    # By name: those of numpy, which is not known here, have the same.
    if type(value).__name__ in ("bool", "bool_"):
        raise PydanticCustomError("number", "true and false are no numbers")
    return value


def _not_over(most: int, value: object) -> object:
    if isinstance(value, (list, tuple, dict, TooMany)) and len(value) > most:
        raise PydanticCustomError(
            "too_long", "{count} items, at most {most} are taken", {"count": len(value), "most": most}
        )
    return value


def _replace_none(meaning: int | float, value: object) -> object:
    return meaning if value is None else value


def _listed(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if value is None or isinstance(value, (list, tuple, TooMany)):
        return value
    raise PydanticCustomError("text_type", "must be a text or a list of texts")


class AbsentIfNull:
    """Marks a list for which JSON null means that there is none."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_empty_if_none, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _empty_if_none(value: object) -> object:
    return () if value is None else value
