"""pydantic's findings in the words of who sent the request, who need not know that this is Python."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

WHOLE = "must be a whole number"
NUMBER = "must be a number"
TRUTH = "must be true or false"
TEXT = "must be a text"
# By pydantic's name of the mistake; in braces what its context holds.
WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "model_type": "must be an object: names with their values",
    "tuple_type": "must be a list",
    "string_type": TEXT,
    "string_unicode": "must be a text of whole Unicode characters",
    "string_too_short": "is empty",
    "string_too_long": "is too long: at most {max_length} characters",
    "too_short": "too few items: at least {min_length}",
    "too_long": "too many items: at most {max_length}",
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": "is too large a number",
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": TRUTH,
    "bool_parsing": TRUTH,
    "bytes_type": "must be bytes",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def in_words(finding: Mapping[str, object]) -> str:
    """What an entry of pydantic's error list says; our own findings are in words already."""
    said, context = str(finding["msg"]), finding.get("ctx", {})
    kind = WORDS.get(str(finding["type"]))
    if kind is None or not isinstance(context, Mapping):
        return said
    try:
        return kind.format_map({name: _shown(value) for name, value in context.items()})
    except KeyError:
        # One of our own under the same name, such as too_long, with a context of its own.
        return said


def not_a_list_of(names: tuple[str, ...], beside: str = "") -> PydanticCustomError:
    """The finding about what should be a list of so many numbers."""
    words = "must be a list: [{names}]" + beside
    return PydanticCustomError("list_type", words, {"names": ", ".join(names)})


def _shown(value: object) -> object:
    """A limit as it would be typed: 1 and not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
