"""Callers who ask the questions of the conformance kit for as long as it lasts, and know the right answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from featsvc_client import channel
from featsvc_client.conformance.asking import Asker
from featsvc_client.conformance.cases import Case, shipped
from featsvc_client.conformance.judging import exact_differences

from tests.servers import KEY

MODELS = ("", "demo-clip", "demo-dino", "demo-sam2")
# Its time is meant to be too short.
IMPATIENT = ("deadline",)
# Longer than any of their questions takes, a restart of the server included.
PATIENCE_S = 300.0

Lines = Mapping[str, Mapping[str, Any]]  # Any: JSON


@dataclass
class Counts:
    """How the questions went."""

    asked: int = 0
    lost: list[str] = field(default_factory=list)
    """Questions that have an answer and got an error, each with its words."""
    wrong: list[str] = field(default_factory=list)
    """Answers that are not the right ones to the byte."""
    seconds: list[float] = field(default_factory=list)
    """How long each case took, with what was tried again."""

    @classmethod
    def of(cls, parts: Iterable[Counts]) -> Counts:
        """All of them together."""
        together = cls()
        for part in parts:
            together.asked += part.asked
            together.lost += part.lost
            together.wrong += part.wrong
            together.seconds += part.seconds
        return together

    @property
    def is_right(self) -> bool:
        """Whether every question got its right answer, and there was one at all."""
        return self.asked > 0 and not (self.lost or self.wrong)

    def take(self, line: Mapping[str, Any], right: Mapping[str, Any]) -> None:
        """Counts one more answer beside the right one."""
        found = exact_differences(line, right)
        self.asked += 1
        if line["code"] != right["code"]:
            self.lost.append(f"{line['name']}: {line['code']}")
        elif found:
            self.wrong.append(f"{line['name']}: {'; '.join(found)[:200]}")

    def words(self) -> str:
        """For a row of a table."""
        return f"{self.asked} asked, {len(self.lost)} lost, {len(self.wrong)} wrong"


def cases() -> tuple[Case, ...]:
    """Those that the demo models answer."""
    return tuple(each for each in shipped() if each.needs in MODELS and each.name not in IMPATIENT)


def answers(target: str, asked: Sequence[Case]) -> Lines:
    """What a server that nobody disturbs answers."""
    with grpc.insecure_channel(target, channel.OPTIONS) as connected:
        asker = Asker(connected, KEY)
        return {str(line["name"]): line for case in asked for line in asker.lines(case)}


class Crowd:
    """So many callers at once, each with a connection of its own, from entering until leaving the block.

    Their client tries again what may be tried again, as the documented one does.
    """

    def __init__(self, target: str, right: Lines, callers: int = 4) -> None:
        self.counts = Counts()
        self._right = right
        self._cases = cases()
        self._answered = threading.Condition()
        self._cases_of = [0] * callers
        """How many cases each has been through."""
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(target, number), daemon=True)
            for number in range(callers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Returns when so many more questions have been answered. Raises TimeoutError where they are not."""
        with self._answered:
            until = self.counts.asked + more
            if not self._answered.wait_for(lambda: self.counts.asked >= until, PATIENCE_S):
                raise TimeoutError(f"no {more} answers within {PATIENCE_S:g} s: {self.counts.words()}")

    def wait_for_each(self) -> None:
        """Returns when nothing that is under way now still is. Raises TimeoutError where something stays so."""
        with self._answered:
            before = tuple(self._cases_of)
            if not self._answered.wait_for(
                lambda: all(now > old for now, old in zip(self._cases_of, before, strict=True)), PATIENCE_S
            ):
                raise TimeoutError(f"a caller had no answer within {PATIENCE_S:g} s: {self.counts.words()}")

    def _ask(self, target: str, number: int) -> None:
        chance = random.Random(number)
        with grpc.insecure_channel(target, channel.OPTIONS) as connected:
            asker = Asker(connected, KEY)
            while not self._is_over.is_set():
                began = time.monotonic()
                lines = list(asker.lines(chance.choice(self._cases)))
                with self._answered:
                    self._cases_of[number] += 1
                    self.counts.seconds.append(time.monotonic() - began)
                    for line in lines:
                        self.counts.take(line, self._right[str(line["name"])])
                    self._answered.notify_all()
