"""What the value of a setting may be, how people write it, and how the help shows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

Value = TypeVar("Value")
AUTO, OFF = "auto", "off"
MIB, GIB = 1 << 20, 1 << 30
UNITS = {"": 1, "k": 1024, "m": MIB, "g": GIB}


@dataclass(frozen=True)
class Written:
    """How a value stands in the help."""

    placeholder: str
    """What stands for it behind its flag."""
    text: Callable[[Any], str] = str
    """A value as the command line would take it."""


def in_bytes(text: str) -> str | int:
    """A size such as 512MiB; MB and M mean the same. Plain numbers are left to pydantic."""
    match = re.fullmatch(r"(\d+)\s*([kmg])?(?:i?b)?", text.strip().lower().replace("_", ""))
    if match is None:
        raise PydanticCustomError("size", "is no size such as 512MiB")
    return int(match[1]) * UNITS[match[2] or ""]


def auto_or_bytes(text: str) -> str | int | None:
    """The same, or None for `auto`."""
    return None if text.strip().lower() == AUTO else in_bytes(text)


def size_words(nbytes: int) -> str:
    """A size as people write it: 1GiB rather than 1073741824."""
    unit, factor = next((u, f) for u, f in reversed(UNITS.items()) if nbytes % f == 0)
    return f"{nbytes // factor}{unit.upper()}{'iB' if unit else ''}" if nbytes else "0"


def parts(text: str) -> tuple[str, ...]:
    """The parts of a list with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Range:
    """From the least to the most."""

    least: int
    most: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}..{self.most}"


ONE = Range(1, 1)


def in_range(text: str) -> Range:
    """A range such as 2..16; of one number both ends."""
    match = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", text.strip())
    found = Range(int(match[1]), int(match[2] or match[1])) if match else Range(0, 0)
    if not 1 <= found.least <= found.most:
        raise PydanticCustomError("range", "is no number from 1 such as 4, and no range such as 2..16")
    return found


def prefix(text: str) -> str:
    """The path that a proxy puts before others, without a slash at its end."""
    if not re.fullmatch(r"(/[\w.~-]+)*/?", text, re.ASCII):
        raise PydanticCustomError("prefix", "is no path: write it as /featsvc")
    return text.rstrip("/")


# `Common[Port]` is a Port that the help shows among the settings that most people set first.
COMMON = "common"
Common = Annotated[Value, COMMON]

# What is told of settings in messages has these bits at least: no value may be told that does not fit.
MOST, MOST_BYTES = 2**32 - 1, 2**63 - 1
LONGEST_S = 1e9

Natural = Annotated[int, Field(ge=0, le=MOST), Written("N")]
Count = Annotated[int, Field(ge=1, le=MOST), Written("N")]
BasisPictures = Annotated[int, Field(ge=1, le=257), Written("N")]
"""Of one request: its own, and as many as its list may name."""
Port = Annotated[int, Field(ge=0, le=65535), Written("PORT")]
OptionalPort = Annotated[
    Annotated[int, Field(ge=0, le=65535)] | None,
    BeforeValidator(lambda text: None if text.strip().lower() == OFF else text),
    Written("PORT", lambda port: OFF if port is None else str(port)),
]
"""A port, or None for none."""
Room = Annotated[int, BeforeValidator(in_bytes), Field(ge=0, le=MOST_BYTES), Written("SIZE", size_words)]
AutoRoom = Annotated[
    Annotated[int, Field(ge=0, le=MOST_BYTES)] | None,
    BeforeValidator(auto_or_bytes),
    Written("SIZE", lambda nbytes: AUTO if nbytes is None else size_words(nbytes)),
]
"""Bytes, or None for what suits the device."""
Size = Annotated[int, BeforeValidator(in_bytes), Field(ge=1, le=MOST_BYTES), Written("SIZE", size_words)]
# 30 years: threads cannot wait for 300, and would end with an error.
Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False), Written("SECONDS")]
# How long something may take: in no time nothing could be done.
Patience = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False), Written("SECONDS")]
# A share in proportion to others.
Share = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False), Written("N")]
Ratio = Annotated[float, Field(ge=0, le=1), Written("RATIO")]
Tflop = Annotated[float, Field(ge=0, allow_inf_nan=False), Written("TFLOP")]
WordList = Annotated[tuple[str, ...], BeforeValidator(parts), Written("LIST", ",".join)]
Capitals = Annotated[
    tuple[str, ...], BeforeValidator(lambda text: parts(text.upper())), Written("LIST", ",".join)
]
Counts = Annotated[Range, BeforeValidator(in_range), Written("N..M")]
Prefix = Annotated[str, BeforeValidator(prefix)]

_small = BeforeValidator(str.lower)
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
AnyPrecision = Annotated[Literal["auto", Precision], _small, Written("auto|fp32|tf32|bf16|fp16")]
PoolKind = Annotated[Literal["local", "ray"], _small, Written("local|ray")]
Profile = Annotated[Literal["default", "demo"], _small, Written("default|demo")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], _small, Written("debug|info|warning|error")
]
LogFormat = Annotated[Literal["auto", "plain", "json"], _small, Written("auto|plain|json")]
