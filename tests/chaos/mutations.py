"""Inputs that are nearly right: messages by their grammar, JSON by its values, all else by its bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Any in this module: values of every type that a message or JSON may have.
INTEGERS = (0, 1, -1, 2, 7, 255, 65536, 2**31 - 1, -(2**31))
UNSIGNED = (0, 1, 2, 255, 65536, 2**32 - 1)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", " ", "\0", "a", "demo-clip", "demo-sam2", "\u202e", "é" * 40, "x" * 300, "../..", "{}", "𝕏")
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, *INTEGERS, 1e300, -0.5, *TEXTS, [], {}, [[]], [None], {"a": 1}, [[1, 2], [3]], ["a", 1],
)  # fmt: skip
ADDRESSES = (
    "http://example.org/a b?c#d", "https://[::1]:8080/x", "http://user:word@127.1/", "http://0x7f.1/..", "//host",
    "http://xn--bcher-kva.example/ü?ä=%zz", "HTTP://EXAMPLE.ORG:99999/", "data:image/png;base64,AAAA", "file:///etc",
)  # fmt: skip
MOST_CHANGES = 3
# Larger ones cost time by right.
CHEAP: dict[str, float] = {
    "load_size": 64, "points_per_side": 3, "points_per_batch": 16, "crop_n_layers": 0, "stride": 14,
    "crop_n_points_downscale_factor": 1, "max_hole_area": 50, "max_sprinkle_area": 50,
}  # fmt: skip

_VALUES: dict[int, Callable[[random.Random], Any]] = {
    FieldDescriptor.CPPTYPE_INT32: lambda chance: chance.choice(INTEGERS),
    FieldDescriptor.CPPTYPE_INT64: lambda chance: chance.choice(INTEGERS),
    FieldDescriptor.CPPTYPE_UINT32: lambda chance: chance.choice(UNSIGNED),
    FieldDescriptor.CPPTYPE_UINT64: lambda chance: chance.choice(UNSIGNED),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda chance: chance.choice(NUMBERS),
    FieldDescriptor.CPPTYPE_FLOAT: lambda chance: chance.choice(NUMBERS),
    FieldDescriptor.CPPTYPE_BOOL: lambda chance: chance.random() < 0.5,
    FieldDescriptor.CPPTYPE_ENUM: lambda chance: chance.choice((0, 1, 2, 3, 9, -1)),
}


def changed(message: Message, chance: random.Random) -> Message:
    """A copy with up to three fields set, emptied or repeated, at any depth; what would be costly stays cheap."""
    copy = type(message)()
    copy.CopyFrom(message)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        _change(copy, chance)
    _make_cheap(copy)
    return copy


def _change(message: Message, chance: random.Random) -> None:
    if not message.DESCRIPTOR.fields:
        return
    field: Any = chance.choice(message.DESCRIPTOR.fields)
    is_message = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    if chance.random() < 0.2:
        message.ClearField(field.name)
    elif field.is_repeated:
        values = getattr(message, field.name)
        for _ in range(chance.choice((1, 2, 9))):
            if is_message and not hasattr(values, "keys"):
                _change(values.add(), chance)
            elif not is_message:
                values.append(_value(field, chance))
    elif is_message:
        inner = getattr(message, field.name)
        inner.SetInParent()
        if inner.DESCRIPTOR.fields:
            _change(inner, chance)
    else:
        setattr(message, field.name, _value(field, chance))


def _value(field: FieldDescriptor, chance: random.Random) -> Any:
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return _VALUES[field.cpp_type](chance)
    text = chance.choice(TEXTS)
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text


def _make_cheap(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name in CHEAP and not field.is_repeated and value > CHEAP[field.name]:
            setattr(message, field.name, int(CHEAP[field.name]))
        elif field.name == "stride" and 0 < value < CHEAP["stride"]:
            message.ClearField(field.name)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                _make_cheap(inner)


def changed_json(body: dict[str, Any], chance: random.Random) -> bytes:
    """A body of which some values are others, or some bytes."""
    made = dict(body)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        made[chance.choice((*body, "no_such_name"))] = chance.choice(JSON_VALUES)
    made = {name: _cheap(name, value) for name, value in made.items()}
    raw = json.dumps(made).encode()
    return changed_bytes(raw, chance) if chance.random() < 0.2 else raw


def _cheap(name: str, value: Any) -> Any:
    if name not in CHEAP or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return min(value, CHEAP[name]) if name != "stride" else max(value, CHEAP[name])


def changed_bytes(raw: bytes, chance: random.Random) -> bytes:
    """The same with bytes overwritten, cut out, said twice, or cut off."""
    made = bytearray(raw)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        if not made:
            break
        # Headers are what decides most.
        at = chance.randrange(min(len(made), chance.choice((64, 512, len(made)))))
        length = min(chance.choice((1, 2, 4, 16)), len(made) - at)
        how = chance.randrange(5)
        if how == 0:
            made[at : at + length] = chance.randbytes(length)
        elif how == 1:
            made[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
        elif how == 2:
            del made[at : at + length]
        elif how == 3:
            made[at:at] = made[at : at + length]
        else:
            del made[chance.randrange(len(made)) :]
    return bytes(made)


def changed_address(chance: random.Random, seeds: Sequence[str] = ADDRESSES) -> str:
    """An address of which some letters are others."""
    raw = changed_bytes(chance.choice(seeds).encode(), chance)
    return raw.decode("utf-8", "replace") if chance.random() < 0.8 else raw.decode("latin-1")
