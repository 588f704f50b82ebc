"""A template as the gateway holds it, and what it forks: a worker on its way, and then its process."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from featsvc.pool.contract.template import ASKED, MOST_BYTES, PID, RETURNCODE
from featsvc.pool.contract.worker import Condition
from featsvc.pool.transport.descriptors import Reserve, received
from featsvc.pool.workers.heartbeat import condition

log = logging.getLogger("featsvc.pool.workers.forks")

FORK_TIMEOUT_S = 30.0
"""Of a template that has forked before; while it imports nobody knows how long that takes: as long as a start may."""
STATUS_TIMEOUT_S = 1.0
LOOK_S = 0.002


class Template:
    """A process that has imported the engines, or is about to, and forks. Any thread may call."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], reserve: Reserve) -> None:
        self.has_forked = False
        """Whether it has ever; until then it imports."""
        self.is_refused = False
        """Whether it never will."""
        self.is_silent = False
        """Whether it has not answered in time."""
        self._lock = threading.Lock()
        self._reserve = reserve
        self._control, theirs = reserve.use(pair)
        with theirs:
            try:
                self._process = reserve.use(partial(_started, theirs, words, environment))
            except BaseException:
                self._control.close()
                raise

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone, and nothing left of it."""
        with self._lock:  # `poll`, and what calls it, says nothing while another thread asks
            return self._process.poll() is not None

    def ends(self, within_s: float) -> bool:
        """Whether it is gone after so long at the latest; waits for that."""
        until = time.monotonic() + within_s
        while not self.has_ended:
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_S)
        return True

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, or does not answer."""
        return self.is_silent or self.has_ended

    def fork(self, changes: Mapping[str, str]) -> Fork:
        """Ask for a worker with these variables, without waiting for it. Raises OSError where it cannot be asked."""
        ours, theirs = self._reserve.use(pair)
        with theirs:
            try:
                socket.send_fds(self._control, [ASKED], [theirs.fileno()], socket.MSG_DONTWAIT)
            except BaseException:
                ours.close()
                raise
        return Fork(self, ours, changes, self._reserve)

    def condition(self) -> Condition:
        """Why it may not answer."""
        return condition(self._process.pid)

    def resume(self) -> None:
        """Let it go on that a signal has stopped."""
        with self._lock:
            self._process.send_signal(signal.SIGCONT)

    def refuse(self, why: str) -> None:
        """Take note that it forks no more."""
        with self._lock:
            was_refused, self.is_refused = self.is_refused, True
        if not was_refused:
            log.warning("workers cannot be forked, and each imports for itself: %s", why)

    def lose(self) -> None:
        """Take note that it does not answer: who asks next has a new one, or none if this one has never forked."""
        self.is_silent = True

    def discard(self) -> None:
        """Have it end, for what it has imported takes memory: at once, or with its last worker. May take a moment."""
        if self.has_forked:
            self.retire()
        else:
            self.kill()
            self.ends(STATUS_TIMEOUT_S)

    def retire(self) -> None:
        """Ask it no more: it ends with its last worker."""
        with suppress(OSError):  # it has ended
            self._control.shutdown(socket.SHUT_RDWR)

    def descriptor(self) -> int:
        """A new descriptor that is its process, readable as soon as it has ended."""
        return os.pidfd_open(self._process.pid)

    def kill(self) -> None:
        """End it, and with it the workers that it has."""
        with self._lock:
            self._process.kill()

    def close(self) -> None:
        """Let go of its socket; by the thread that asks it."""
        self._control.close()


class Fork:
    """A worker that a template was asked for."""

    def __init__(
        self, template: Template, life: socket.socket, changes: Mapping[str, str], reserve: Reserve
    ) -> None:
        self._template = template
        self._life = life
        self._changes = json.dumps(changes).encode()
        self._reserve = reserve
        self._is_given_up = False
        self.condition, self.resume = template.condition, template.resume

    def process(self, link: socket.socket) -> Forked | None:
        """The process, which has this end of its link; None where a fresh one must take its place. Waits for it."""
        try:
            forked = self._forked(link)
        except OSError as error:
            if isinstance(error, TimeoutError):
                self._template.lose()
            if self._is_given_up:
                if not self._template.has_forked:
                    self._template.lose()
                    self._template.discard()
            elif not self._template.is_refused:
                log.error("a worker is not forked, and imports for itself: %s", error)
            forked = None
        if forked is None:
            self.close()
        return forked

    def close(self) -> None:
        """Want it no more, where `process` has not been called."""
        self._life.close()

    def give_up(self) -> None:
        """Want it no more: `process` returns, and what was forked ends."""
        self._is_given_up = True
        with suppress(OSError):
            self._life.shutdown(socket.SHUT_RDWR)

    def _forked(self, link: socket.socket) -> Forked | None:
        self._life.settimeout(FORK_TIMEOUT_S if self._template.has_forked else None)
        # The packet stays where it is meanwhile, so that it can be looked at again with the reserve.
        told, processes = self._reserve.use(partial(received, self._life, MOST_BYTES, socket.MSG_PEEK))
        if not told:
            raise ConnectionError("its template has ended, or had no memory for it")
        if not processes:
            self._template.refuse(told.decode(errors="replace"))
            self._template.discard()
            return None
        try:
            self._life.recv(PID.size)
            socket.send_fds(self._life, [self._changes], [link.fileno()])
        except BaseException:
            os.close(processes[0])
            raise
        self._template.has_forked = True
        return Forked(PID.unpack(told)[0], processes[0], self._life, self._template)


class Forked:
    """A process that a template has forked, as `subprocess.Popen` has its own. Signals never reach another."""

    def __init__(self, pid: int, process: int, life: socket.socket, template: Template) -> None:
        self.pid = pid
        self._process = process
        self._life = life
        self._template = template
        self._has_ended = False
        self._lock = threading.Lock()
        self.ended_with_template = False
        """Whether its template ended before it could tell of this end, so that it took it along."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with self._lock, suppress(ProcessLookupError):
            if not self._has_ended:
                signal.pidfd_send_signal(self._process, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Its status, as soon as it has ended; for one thread, and once.

        Where its template has gone, or says nothing, that is as if it were killed, which it is with its template.
        """
        ends = select.poll()
        ends.register(self._process, select.POLLIN)
        ends.poll()
        told = self._last_word() or self._last_word()
        self.ended_with_template = not told and self._template.ends(STATUS_TIMEOUT_S)
        with self._lock:
            self._has_ended = True
            with suppress(
                OSError
            ):  # as a rule it is no child of ours, but without an init whoever is left is
                os.waitid(os.P_PIDFD, self._process, os.WEXITED | os.WNOHANG)
            os.close(self._process)
        self._life.close()
        returncode: int = RETURNCODE.unpack(told)[0] if told else -signal.SIGKILL
        return returncode

    def _last_word(self) -> bytes:
        """What the template says of the end; one that was stopped is told to go on for that."""
        self._life.settimeout(STATUS_TIMEOUT_S)
        try:
            return self._life.recv(RETURNCODE.size)
        except OSError:
            self._template.resume()
            return b""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that exchange packets, whole and in order."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _started(
    theirs: socket.socket, words: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    # By the thread of the event loop, which lives as long as the pool: the template dies with this thread.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "featsvc.pool.worker.template", str(theirs.fileno()), *words],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        env=environment,
        process_group=0,  # Ctrl-C is for this process, which ends its templates
    )
