"""Whether and when the next process of a worker starts."""

from __future__ import annotations

import logging
from typing import NamedTuple

from featsvc.children import RestartBackoff
from featsvc.pool.contract.settings import PoolSettings
from featsvc.pool.contract.status import WorkerState

log = logging.getLogger("featsvc.pool.workers.restarts")


class NextStart(NamedTuple):
    """What follows the end of a process, or a start that failed."""

    state: WorkerState
    """Of the worker meanwhile."""
    delay_s: float | None
    """None where no other process follows."""


class Restarts:
    """Of one worker."""

    def __init__(self, worker: int, settings: PoolSettings) -> None:
        self.is_last = False
        """Whether no other process is to follow this one."""
        self.is_refused = False
        """Whether this process has said that it cannot work on its device."""
        self._worker = worker
        self._settings = settings
        self._backoff = RestartBackoff(
            settings.restart_delay_s, settings.max_restart_delay_s, settings.healthy_after_s
        )

    @property
    def are_in_vain(self) -> bool:
        """Whether so many starts in a row failed that nobody should wait for the next."""
        return self._backoff.failed_starts >= self._settings.max_failed_starts

    def was_born(self) -> None:
        """The process takes work."""
        self._backoff.was_born()

    def did_work(self) -> None:
        """It has answered a batch."""
        self._backoff.did_work()

    def after_loss(self, state: WorkerState) -> NextStart:
        """What follows where a process of a worker in this state is of no use any more: nothing before its end."""
        return NextStart(state if state is WorkerState.FAILED else WorkerState.DEAD, None)

    def after_defect(self, is_there: bool) -> NextStart:
        """What follows where that could not be said, of a process that still `is_there` or of none: a start, later."""
        return NextStart(WorkerState.DEAD, None if is_there else self._settings.max_restart_delay_s)

    def after_exit(self, state: WorkerState, returncode: int) -> NextStart:
        """What follows the end of the process of a worker in this state."""
        was_refused, self.is_refused = self.is_refused, False
        if not was_refused:
            log.error("worker died", extra={"worker": self._worker, "returncode": returncode})
        if was_refused and not (self._backoff.has_lived or self._settings.may_move):
            return NextStart(WorkerState.FAILED, None)  # nor will it live the next time
        if self.is_last:
            return NextStart(WorkerState.DEAD, None)
        return self.again(state)

    def again(self, state: WorkerState) -> NextStart:
        """The next start, a while after a death or a start that failed."""
        delay_s = self._backoff.restart_delay_s()
        if self.are_in_vain and state is not WorkerState.FAILED:
            log.critical(
                "worker cannot start: mend the cause above; it is tried again every %g s at the latest",
                self._settings.max_restart_delay_s,
                extra={"worker": self._worker},
            )
        return NextStart(WorkerState.FAILED if self.are_in_vain else WorkerState.DEAD, delay_s)
