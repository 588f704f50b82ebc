"""The cases, which runners of all languages read, and the known answers to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

# Any: JSON as the files have it.
Json: TypeAlias = Mapping[str, Any]
OFFLINE = "offline"
"""What a case needs that asks for weights which the server must not go and fetch."""


@dataclass(frozen=True)
class Question:
    """One request of a case, as protobuf JSON of the plain (not chunked, not streamed) request."""

    id: str
    """Its name in a stream; empty in all other calls."""
    request: Json


@dataclass(frozen=True)
class Case:
    """One call."""

    name: str
    rpc: str
    """Path of the method, such as featsvc.v1.ClipService/EncodeText."""
    questions: tuple[Question, ...]
    """One; several where the method takes many."""
    needs: str = ""
    """Key of the model that it asks; empty where any server gives the same answer; or OFFLINE."""
    api_key: str = ""
    """Key to send instead of the right one."""
    timeout_s: float = 120.0
    paced: bool = False
    """Whether each question comes only when the answer to the one before it has been seen, as from a slow source."""

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Names of the lines that a runner prints about it."""
        return tuple(f"{self.name}/{each.id}" if each.id else self.name for each in self.questions)

    def json(self) -> dict[str, Any]:
        """The case as the file has it."""
        return {**vars(self), "questions": [vars(each) for each in self.questions]}


def read(path: Path) -> tuple[Case, ...]:
    """The cases of a file."""
    return _cases(path.read_text())


def shipped() -> tuple[Case, ...]:
    """The cases of this package."""
    return _cases(files(__package__).joinpath("cases.json").read_text())


def golden() -> dict[str, Json]:
    """The known answers, by the names of their lines."""
    return by_name(files(__package__).joinpath("golden.jsonl").read_text().splitlines())


def by_name(lines: Iterable[str]) -> dict[str, Json]:
    """What a runner has printed, by name."""
    found = map(json.loads, lines)
    return {line["name"]: line for line in found}


def _cases(written: str) -> tuple[Case, ...]:
    return tuple(
        Case(**{**each, "questions": tuple(Question(**question) for question in each["questions"])})
        for each in json.loads(written)
    )
