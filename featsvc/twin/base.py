"""What the generated classes of featsvc.v1.schema are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Rule:
    """Something that must hold between the fields of one message: `field` is blamed where `holds` is false."""

    field: str
    holds: Callable[[Mapping[str, object]], bool]
    message: str


@cache
def _all_rules(message: type[BaseModel]) -> tuple[Rule, ...]:
    """The rules of this class and of every class it inherits from, so that a REST body keeps those of its parts."""
    return tuple(rule for base in message.__mro__ for rule in base.__dict__.get("rules", ()))


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
        given = self.model_fields_set
        for names in self.one_of:
            if sum(name in given and getattr(self, name) is not None for name in names) != 1:
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


def _replace_none(value: int | float, given: object) -> object:
    return value if given is None else given


def _listed(given: object) -> object:
    return (given,) if isinstance(given, str) else given


class AbsentIfNull:
    """Marks a list for which JSON null means that there is none."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_empty_if_none, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _empty_if_none(given: object) -> object:
    return () if given is None else given
