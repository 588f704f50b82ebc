"""Mixed work for as long as asked: memory, descriptors and threads of every process stay as they are.

They are compared at rest: at work, memory is what the largest moment so far took.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.chaos.attacks import at_rest, processes
from tests.chaos.crowd import Counts, Crowd, answers, cases
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
    "--give-back-after=1",
)
# The part of the time that warms up, before the first figures.
WARM = 0.2
MOST_GROWTH = 0.01
# Some threads or descriptors more are none that are lost: five pools of threads grow as they are needed.
SOME_MORE = 5
TOLD = 5
Figures = Mapping[tuple[str, str], float]
"""By process and kind."""


def soak(folder: Path, seconds: int) -> Report:
    """Four callers ask all questions of the conformance kit for so many seconds, resting once warm and at the end."""
    with running(folder / "log", *FLAGS) as server:
        right = answers(server.target, cases())
        found = processes(server)
        counts, rests = list[Counts](), list[Figures]()
        for part in (WARM, 1 - WARM):
            with Crowd(server.target, right) as crowd:
                time.sleep(part * seconds)
            counts.append(crowd.counts)
            rests.append(_at_rest(found))
    before, after = rests
    too_much = [
        f"{name}: {before[name, kind]:.1f} to {after[name, kind]:.1f} {kind}"
        for name, kind in before
        if after[name, kind] > before[name, kind] * (1 + MOST_GROWTH) + (0 if kind == "MB" else SOME_MORE)
    ]
    both = Counts.of(counts)
    figures = "; ".join(f"{name} {_words(before, after, name)}" for name in found)
    what = f"{seconds} s under 4 callers"
    told = both.lost[:TOLD] + both.wrong[:TOLD]
    is_right = both.is_right and not too_much
    return Report("mixed work", what, is_right, f"{both.words()}; at rest {figures}", (*too_much, *told))


def _at_rest(found: Mapping[str, psutil.Process]) -> Figures:
    memory = at_rest(found)
    return {
        (name, kind): value
        for name, process in found.items()
        for kind, value in (
            ("MB", memory[name]),
            ("descriptors", process.num_fds()),
            ("threads", process.num_threads()),
        )
    }


def _words(before: Figures, after: Figures, name: str) -> str:
    return ", ".join(
        f"{before[name, kind]:.{digits}f} to {after[name, kind]:.{digits}f} {kind}"
        for kind, digits in (("MB", 1), ("descriptors", 0), ("threads", 0))
    )
