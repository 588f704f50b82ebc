"""Templates as the gateway holds them: processes that have imported the engines, and fork a worker when asked.

A worker that is forked takes work at once; a fresh interpreter imports for seconds of processor time first. Where no
template can be had (another system than Linux, libraries that keep threads or devices) a fresh interpreter is started.
"""

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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from featsvc.pool.contract.messages import Boot
from featsvc.pool.contract.template import ASKED, MOST_BYTES, PID, RETURNCODE
from featsvc.pool.contract.worker import Condition
from featsvc.pool.transport.descriptors import Reserve, received
from featsvc.pool.workers.heartbeat import condition

log = logging.getLogger("featsvc.pool.workers.templates")

OF_A_WORKER = "CUDA_VISIBLE_DEVICES"
"""The variable that workers of one template may have different values of: it is read when a device is first used."""
FORK_TIMEOUT_S = (
    30.0  # of a template that has forked before; while it imports nobody knows how long that takes
)
STATUS_TIMEOUT_S = 1.0
Kind = tuple[tuple[str, ...], frozenset[tuple[str, str]]]
"""The words that a template is started with, and its environment."""


class Templates:
    """Those of a pool, one for each kind of worker; for the thread of the event loop."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._now: dict[Kind, Template] = {}
        self._past: list[Template] = []
        """Those that have workers, and do not answer any more."""

    def fork(self, boot: Boot, environment: Mapping[str, str]) -> Fork | None:
        """A worker on its way in this environment; None where a fresh interpreter is to be started."""
        words = (boot.engines.partition(":")[0], boot.log_level, boot.log_format)
        shared = {name: value for name, value in environment.items() if name != OF_A_WORKER}
        kind = (words, frozenset(shared.items()))
        changes = {name: value for name, value in environment.items() if name == OF_A_WORKER}
        try:
            template = self._now.get(kind)
            if template is None or (template.is_lost and template.has_forked):
                if template:
                    self._retire(template)
                template = self._now[kind] = Template(words, shared, self._reserve)
            return None if template.is_refused or template.is_lost else template.fork(changes)
        except OSError as error:  # no descriptors or processes left, or a template that ends at this moment
            log.warning("a worker cannot be forked: %s", error)
            return None

    def _retire(self, template: Template) -> None:
        log.error("workers have a new template: the last one has ended or does not answer")
        template.retire()
        self._past = [each for each in (*self._past, template) if not each.has_ended]

    def close(self) -> None:
        """End them; their workers have ended."""
        for template in (*self._past, *self._now.values()):
            template.close()


class Template:
    """One of them. Any thread may call."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], reserve: Reserve) -> None:
        self.has_forked = False
        """Whether it has ever; until then it imports."""
        self.is_refused = False
        """Whether it never will."""
        self._is_silent = False
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
        """Whether its process is gone."""
        return self._process.poll() is not None

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, or does not answer."""
        return self._is_silent or self.has_ended

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
        self._process.send_signal(signal.SIGCONT)

    def refuse(self, why: str) -> None:
        """Take note that it never forks."""
        if not self.is_refused:
            self.is_refused = True
            log.warning("workers cannot be forked, and each imports for itself: %s", why)

    def lose(self) -> None:
        """Take note that it does not answer: who asks next has a new one."""
        self._is_silent = True

    def retire(self) -> None:
        """Ask it no more: it ends with its last worker."""
        self._control.close()

    def close(self) -> None:
        """End it, and with it the workers that it has."""
        self._control.close()
        self._process.kill()
        self._process.wait()


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
            if not self._is_given_up:
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
        with self._lock:
            self._has_ended = True
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


def can_fork() -> bool:
    """Whether this system has what that takes."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel, or one that does not let us
        return False
    return True


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
