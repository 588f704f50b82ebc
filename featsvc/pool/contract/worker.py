"""The seam at the worker: all that the pool knows of a process, here or on another machine, that runs the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from featsvc.pool.contract.messages import Boot, FromWorker, ToWorker


class Condition(Enum):
    """What a worker is found to do that does not answer."""

    UNKNOWN = "unknown"
    STOPPED = "stopped by a signal"
    TRACED = "under a debugger"
    AT_DISK = "waiting for a disk or for swapped memory"


@dataclass(frozen=True)
class Description:
    """Which process a worker is."""

    pid: int | None
    """None while it has no process yet."""
    machine: str = ""
    """The address of its machine; empty where there is but one, and while it has no process yet."""


class Events(Protocol):
    """Who hears from a worker, on the event loop's thread."""

    def on_messages(self, messages: list[FromWorker]) -> None:
        """The worker says something."""

    def on_unsendable(self, message: ToWorker, error: Exception) -> None:
        """A message could not be packed, or there was no room for it; the worker never saw it."""

    def on_lost(self, blameless: bool = False) -> None:
        """The worker takes and says nothing more; on_exit follows, once another may take its place."""

    def on_exit(self, returncode: int, blameless: bool = False) -> None:
        """The worker has ended, and nothing is left of it; nothing follows.

        One that is `blameless` did not die of its work: its machine has gone, or the template that it was forked from.
        """


class Worker(Protocol):
    """One life of a worker, from its start to `Events.on_exit`. No method waits."""

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Send a message, in the order of the calls; lost if the worker is dying, which on_exit then tells.

        What is `large` takes long to pack, and must not hold up the caller.
        """

    def kill(self) -> None:
        """End it at once; on_exit follows."""

    def describe(self) -> Description:
        """Which process it is."""
        ...

    def condition(self) -> Condition:
        """Why it may not answer; asked where it is silent."""
        ...

    def resume(self) -> None:
        """Let it go on where a signal has stopped it."""


Spawn = Callable[[Boot, Events], Worker]
"""Starts a worker: makes it, gives it its Boot, and tells Events from then on. Raises where it cannot be started."""
