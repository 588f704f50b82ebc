"""Whether a worker answers at all, whatever it computes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from featsvc.pool.contract.worker import Condition, Worker

log = logging.getLogger("featsvc.pool.workers.heartbeat")

LOOK_S = 0.25
SILENT_LOOKS = 3
# A worker that nobody waits for is asked more rarely, for it costs its machine a moment of no rest.
IDLE_LOOKS = 8
STATES = {"T": Condition.STOPPED, "t": Condition.TRACED}
AT_DISK = "D"


class Pulse:
    """Asks at every look, if the last question is answered.

    Looks are counted and not seconds: a gateway that was held up itself hears late, and looks late too.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._missed: int | None = None  # looks since the question, None where none is open

    @property
    def is_asked(self) -> bool:
        """Whether a question is open."""
        return self._missed is not None

    @property
    def is_silent(self) -> bool:
        """Whether the answer is overdue."""
        return self._missed is not None and self._missed >= SILENT_LOOKS

    @property
    def silent_s(self) -> float:
        """How long about."""
        return (self._missed or 0) * LOOK_S

    def look(self) -> None:
        """Ask, or take note that there is no answer yet."""
        if self._missed is None:
            self._ask()
            self._missed = 0
        else:
            self._missed += 1

    def heard(self) -> None:
        """The answer is there, or is not wanted any more."""
        self._missed = None


class Heartbeat(Pulse):
    """The pulse of a worker, over all its restarts, and the first aid."""

    def __init__(self, ask: Callable[[], None], limit_s: float) -> None:
        super().__init__(ask)
        self._limit_s = limit_s
        self._idle_looks = 0
        self.was_stopped = False  # by a signal, so that its end was not the doing of its work

    def is_lost(self, worker: Worker, *, is_starting: bool, is_awaited: bool) -> bool:
        """Look after a worker; whether it must be replaced. One that was stopped by a signal is told to go on.

        One that nobody waits for is asked too, so that the next who comes finds one that works. It cannot answer while
        it starts. Nor can it while its memory comes back from where it was swapped to, or weights from a slow disk:
        such looks do not count.
        """
        if is_starting:
            self.heard()
        elif (is_awaited or self.is_asked or self._is_due()) and not (
            self.is_silent and worker.condition() is Condition.AT_DISK
        ):
            self.look()
        if not (is_starting or self.is_silent):
            self.was_stopped = False
            return False
        found = worker.condition()
        self.was_stopped = found is Condition.STOPPED
        if self.was_stopped:
            # Nobody's work is lost by that, unlike by a new worker.
            pid = worker.describe().pid
            stopped = "a worker" if pid else "the template that is to fork a worker"
            known = {"pid": pid} if pid else {}
            log.warning("%s was stopped by a signal and is told to go on", stopped, extra=known)
            worker.resume()
        return self.silent_s >= self._limit_s and found is not Condition.TRACED

    def _is_due(self) -> bool:
        """Whether it is time to ask one that idles."""
        self._idle_looks = (self._idle_looks + 1) % IDLE_LOOKS
        return self._idle_looks == 0


def condition(pid: int) -> Condition:
    """Why a process may not answer: one stopped, or with a thread in a wait that no signal interrupts."""
    found = STATES.get(_state(Path(f"/proc/{pid}/stat")), Condition.UNKNOWN)
    if found is Condition.UNKNOWN and is_at_disk(pid):
        return Condition.AT_DISK
    return found


def is_at_disk(pid: int) -> bool:
    """Whether a thread of the process waits for what no signal interrupts, which is a disk or swapped memory."""
    try:
        return any(_state(stat) == AT_DISK for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    except OSError:  # it has gone, or there are no descriptors left
        return False


def _state(stat: Path) -> str:
    try:
        return stat.read_bytes().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""
