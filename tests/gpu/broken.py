"""Sections that go wrong in each way there is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from tests.gpu.conditions import Conditions
from tests.gpu.rows import Row


def right(conditions: Conditions) -> Iterator[Row]:
    """Finds nothing wrong."""
    yield Row("a check", True, {"dry": conditions.dry})


def wrong(conditions: Conditions) -> Iterator[Row]:
    """Finds something wrong."""
    yield Row("a check", True)
    yield Row("another", False)


def raising(conditions: Conditions) -> Iterator[Row]:
    """Breaks."""
    yield Row("a check", True)
    raise RuntimeError("a section that breaks")


def dying(conditions: Conditions) -> Iterator[Row]:
    """Is killed, as for its memory."""
    yield Row("a check", True)
    os.kill(os.getpid(), signal.SIGKILL)


def hanging(conditions: Conditions) -> Iterator[Row]:
    """Waits for what never comes."""
    yield Row("a check", True)
    signal.pause()


def empty(conditions: Conditions) -> Iterator[Row]:
    """Checks nothing."""
    yield from ()
