"""Mixed work for as long as asked: memory, descriptors and threads of every process stay as they are."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.chaos.attacks import memory_mb, processes
from tests.chaos.crowd import Crowd, answers, cases
from tests.chaos.report import Report
from tests.servers import running

# Small caches, so that they are full before the first look counts.
FLAGS = (
    "up",
    "--profile=demo",
    "--offline",
    "--devices=cpu",
    "--image-cache=1MiB",
    "--embedding-cache=24MiB",
)
LOOKS = 100
# Looks at the beginning that do not count, and how many are compared, there and at the end.
WARM, COMPARED = 20, 20
MOST_GROWTH = 0.01
# Some threads or descriptors more are none that are lost: five pools of threads grow as they are needed.
SOME_MORE = 5
TOLD = 5
FIGURES: Mapping[str, Callable[[psutil.Process], float]] = {
    "MB": memory_mb,
    "descriptors": lambda process: process.num_fds(),
    "threads": lambda process: process.num_threads(),
}

Looks = Mapping[tuple[str, str], Sequence[float]]
"""Figures by process and kind, in the order of time."""


def soak(folder: Path, seconds: int) -> Report:
    """Four callers ask all questions of the conformance kit for so many seconds."""
    with running(folder / "log", *FLAGS) as server:
        right = answers(server.target, cases())
        found = processes(server)
        looks = {(name, kind): list[float]() for name in found for kind in FIGURES}
        with Crowd(server.target, right) as crowd:
            for _ in range(LOOKS):
                time.sleep(seconds / LOOKS)
                for (name, kind), seen in looks.items():
                    seen.append(FIGURES[kind](found[name]))
    grown = {each: _growth(seen) for each, seen in looks.items()}
    too_much = [
        f"{name}: {start:.0f} to {end:.0f} {kind}"
        for (name, kind), (start, end) in grown.items()
        if end > start * (1 + MOST_GROWTH) + (0 if kind == "MB" else SOME_MORE)
    ]
    figures = "; ".join(f"{name} {_words(grown, name)}" for name in found)
    told = crowd.counts.lost[:TOLD] + crowd.counts.wrong[:TOLD]
    is_right = crowd.counts.is_right and not too_much
    what = f"{seconds} s under 4 callers"
    return Report("mixed work", what, is_right, f"{crowd.counts.words()}; {figures}", (*too_much, *told))


def _growth(seen: Sequence[float]) -> tuple[float, float]:
    """What is usual at the beginning, once warm, and at the end."""
    return statistics.median(seen[WARM : WARM + COMPARED]), statistics.median(seen[-COMPARED:])


def _words(grown: Mapping[tuple[str, str], tuple[float, float]], name: str) -> str:
    ends = ((grown[name, kind], kind) for kind in FIGURES)
    return ", ".join(f"{start:.0f} to {end:.0f} {kind}" for (start, end), kind in ends)
