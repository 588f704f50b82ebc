"""A process that has imported the engines and forks workers.

It has one thread, so that no lock is held in the copy that nobody would ever open, and it has touched no device.
`python -m featsvc.pool.worker.template FD MODULE LEVEL` starts it: the module of the engines, and the least level of
what is logged; `featsvc.pool.contract.template` says what comes by the socket FD.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple, NoReturn

from featsvc.pool.contract.template import ASKED, MOST_BYTES, PID, RETURNCODE
from featsvc.pool.transport.descriptors import received
from featsvc.pool.worker.life import work
from featsvc.processes import die_with_parent, leave_signals_to_parent, name_process

NAME = "worker-template"
"""Of the process, as `ps -e` and `top` show it."""
STANDARD_FILES = (0, 1, 2)
MOST_RECORDS = 1_000
THREADS_END_S = 0.1  # a thread that has been joined may be listed for a moment
LOOK_S = 0.005


class Kept(logging.Handler):
    """The latest records, for the first worker to write: this process waits for nobody who reads its log."""

    def __init__(self) -> None:
        super().__init__()
        self.records = deque[logging.LogRecord](maxlen=MOST_RECORDS)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


class ForkedWorker(NamedTuple):
    """A worker that has not ended."""

    pid: int
    life: socket.socket


class WorkerTemplate:
    """Forks whenever it is asked, tells of each end, and ends with the last worker when nobody can ask any more."""

    def __init__(self, control: socket.socket, failure: str, kept: Kept) -> None:
        self._control = control
        self._kept = kept
        self._failure = failure
        """Why it never forks; empty where it may."""
        self._pid = os.getpid()
        self._children: dict[int, ForkedWorker] = {}
        """By the descriptors that are their processes."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._is_asked = True

    def serve(self) -> None:
        """Its work."""
        while self._is_asked or self._children:
            for fd, _ in self._poll.poll():
                if fd in self._children:
                    self._bury(fd)
                else:
                    self._answer()

    def _answer(self) -> None:
        try:
            word, ends = received(self._control, len(ASKED))
        except OSError:  # no room for it here: the pool notices its end
            return
        if not word:
            self._is_asked = False
            self._poll.unregister(self._control)
            return
        for fd in ends:
            self._fork(socket.socket(fileno=fd))

    def _fork(self, life: socket.socket) -> None:
        try:
            if obstacle := self._failure or self._obstacle(life):
                with life:
                    life.send(obstacle.encode(errors="replace")[:MOST_BYTES])
                return
            pid = os.fork()
        except (
            OSError
        ):  # no memory, processes or descriptors left, or who asked has gone: a fresh one has the words
            life.close()
            return
        if pid == 0:
            self._become_worker(life)
        self._kept.records.clear()  # that one has them
        try:
            process = os.pidfd_open(pid)
        except OSError:  # no descriptors left
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            life.close()
            return
        self._children[process] = ForkedWorker(pid, life)
        self._poll.register(process, select.POLLIN)
        with suppress(OSError):  # who asked has gone: the worker notices too
            socket.send_fds(life, [PID.pack(pid)], [process])

    def _bury(self, process: int) -> None:
        self._poll.unregister(process)
        pid, life = self._children.pop(process)
        _, status = os.waitpid(pid, 0)
        with life, suppress(OSError):
            life.send(RETURNCODE.pack(os.waitstatus_to_exitcode(status)))
        os.close(process)

    def _obstacle(self, life: socket.socket) -> str:
        """Why a copy of this process could not work; empty where nothing is known."""
        if threads := _lasting_threads():
            return f"its libraries keep {threads} threads running, which a copy would lack"
        own = {*STANDARD_FILES, self._control.fileno(), life.fileno()}
        own |= {*self._children, *(child.life.fileno() for child in self._children.values())}
        # Among them are the devices of CUDA, which no copy can use once they are open.
        others = sorted(name for fd, name in _open_files().items() if fd not in own)
        if others:
            return f"its libraries keep files open: {', '.join(others)}"
        return ""

    def _become_worker(self, life: socket.socket) -> NoReturn:
        """In the copy: be a worker, if the pool still wants one."""
        returncode = 1
        try:
            die_with_parent()
            if os.getppid() != self._pid:
                os._exit(1)  # it had gone before it could take this one along
            os.setpgid(0, 0)  # as a fresh interpreter: a signal to the template's group is not for it
            self._control.close()
            for process, child in self._children.items():
                os.close(process)
                child.life.close()
            with life:
                changes, links = received(life, MOST_BYTES)
            if links:
                os.environ.update(json.loads(changes))
                work(socket.socket(fileno=links[0]), tuple(self._kept.records))
            returncode = 0
        except SystemExit as end:
            returncode = int(end.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # What the libraries have registered for the end of the template is none of this process's.
            logging.shutdown()
            os._exit(returncode)


def _lasting_threads() -> int:
    """How many threads this process has beside its main one, and not just for a moment."""
    until = time.monotonic() + THREADS_END_S
    while (others := len(os.listdir("/proc/self/task")) - 1) and time.monotonic() < until:
        time.sleep(LOOK_S)
    return others


def _open_files() -> dict[int, str]:
    """What this process has open."""
    files = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return files


def _imported(module: str) -> str:
    """Imports the engines; why that fails, or nothing."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a library raises: a fresh interpreter tells it in full
        return f"{module} cannot be imported there: {error}"
    # What is there now is never looked through again, and so its pages stay shared.
    gc.collect()
    gc.freeze()
    # The libraries of linear algebra end their threads before a fork, and begin them again where they are needed.
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
    return ""


def main() -> None:
    """Serve until the parent is gone."""
    leave_signals_to_parent()
    die_with_parent()
    name_process(NAME)
    fd, module, log_level = sys.argv[1:]
    control = socket.socket(fileno=int(fd))
    control.set_inheritable(False)
    # For what libraries have to say while they are imported.
    kept = Kept()
    logging.captureWarnings(True)
    logging.basicConfig(level=log_level.upper(), handlers=[kept], force=True)
    WorkerTemplate(control, _imported(module), kept).serve()
    # It has nothing to put in order, and its libraries would take a while.
    os._exit(0)


if __name__ == "__main__":
    main()
