"""The process of a worker on this machine, from before it is there until it has ended."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Protocol

from featsvc.pool.contract.worker import Condition
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.forks import Fork, Forked
from featsvc.pool.workers.heartbeat import condition


class Process(Protocol):
    """What is used of `subprocess.Popen`, and a process that was forked has too."""

    @property
    def pid(self) -> int:
        """Its number."""

    def send_signal(self, number: int, /) -> None:
        """Sends a signal, unless it has ended."""

    def kill(self) -> None:
        """Ends it at once."""

    def wait(self) -> int:
        """Its status, as soon as it has ended."""


class LocalProcess:
    """A process that is forked, or else a fresh interpreter. One thread calls `begin` and `wait`, any the others."""

    def __init__(
        self, link: socket.socket, environment: Mapping[str, str], fork: Fork | None, reserve: Reserve
    ) -> None:
        self._link = link
        """The worker's end of it."""
        self._environment = environment
        self._fork = fork
        self._reserve = reserve
        self._process: Process | None = None
        self._is_killed = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Its number; None while it is not there yet."""
        return self._process.pid if self._process else None

    def begin(self) -> bool:
        """Wait until it is there; whether it is, or was killed before. Raises what keeps it from being started."""
        try:
            process: Process | None = self._fork.process(self._link) if self._fork else None
            with self._lock:
                if process is None and not self._is_killed:
                    process = self._reserve.use(self._fresh)
                elif process and self._is_killed:
                    process.kill()
                self._process = process
            return process is not None
        finally:
            self._link.close()

    def wait(self) -> int:
        """Its status, as soon as it has ended."""
        return self._process.wait() if self._process else -signal.SIGKILL

    @property
    def ended_with_template(self) -> bool:
        """Whether its template ended, and took it along; known after `wait`."""
        return isinstance(self._process, Forked) and self._process.ended_with_template

    def kill(self) -> None:
        """End it at once, or let it never be."""
        with self._lock:
            self._is_killed = True
            if self._process:
                self._process.kill()
            elif self._fork:
                self._fork.give_up()

    def abandon(self) -> None:
        """Let it never be, where nobody will call `begin`."""
        self._link.close()
        if self._fork:
            self._fork.close()

    def condition(self) -> Condition:
        """Why it may not answer, as Linux tells; while it is not there, why its template may not."""
        if self._process:
            return condition(self._process.pid)
        return self._fork.condition() if self._fork else Condition.UNKNOWN

    def resume(self) -> None:
        """Let go on what a signal has stopped, be it the template."""
        with self._lock:
            if self._process:
                self._process.send_signal(signal.SIGCONT)
            elif self._fork:
                self._fork.resume()

    def _fresh(self) -> Process:
        # PR_SET_PDEATHSIG in the child means the death of this thread, which waits for the child's end.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "featsvc.pool.worker", str(self._link.fileno())],
            pass_fds=(self._link.fileno(),),
            stdin=subprocess.DEVNULL,
            env=self._environment,
            process_group=0,  # Ctrl-C is for this process, which ends its workers
        )
