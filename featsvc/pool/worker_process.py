"""A worker process as the gateway holds it: the child, its socket, and two threads beside the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from featsvc.pool.messages import Boot, FromWorker, ToWorker
from featsvc.pool.settings import PoolSettings
from featsvc.pool.wire import Link

log = logging.getLogger("featsvc.pool.worker_process")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
KEPT_BYTES = 320 << 20  # of shared memory in which large results come: four of the largest in one message
CPU_ENVIRONMENT = {
    # glibc returns and faults in every large temporary: a third of the time of automatic masks on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 26),
    # Otherwise each thread keeps freed memory of its own, and a worker grows by that.
    "MALLOC_ARENA_MAX": "2",
    # Threads that spin while they wait take the cores from the gateway: three times the processor time, and seconds
    # instead of milliseconds where there are no more cores than threads.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Events(Protocol):
    """Who hears from the worker, on the event loop's thread."""

    def on_messages(self, messages: list[FromWorker]) -> None:
        """The worker says something."""

    def on_unsendable(self, message: ToWorker) -> None:
        """A message could not be pickled; the worker never saw it."""

    def on_exit(self, returncode: int) -> None:
        """The process has ended and is reaped; nothing follows."""


class WorkerProcess:
    """A fresh interpreter (not a fork) that runs `featsvc.pool.worker`, from start to end."""

    def __init__(self, boot: Boot, settings: PoolSettings, events: Events) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        ours, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = _started(child_end, boot.device, settings.threads_per_worker)
        except OSError:
            ours.close()
            raise
        finally:
            child_end.close()
        self._link = Link(ours, KEPT_BYTES)
        self._sender = threading.Thread(target=self._send_all, name=f"to-worker-{boot.worker}", daemon=True)
        self._reader = threading.Thread(
            target=self._receive_all, name=f"from-worker-{boot.worker}", daemon=True
        )
        self.send(boot)
        self._sender.start()
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Send without waiting; lost if the worker is dying, which on_exit then tells.

        What is `large` is packed by a thread, for that would hold up the event loop.
        """
        (self._link.post_later if large else self._link.post)(message)

    def kill(self) -> None:
        """End the process at once; on_exit follows."""
        self._process.kill()

    def _send_all(self) -> None:
        try:
            self._link.send_all(self._on_unsendable)
        except OSError as error:
            log.debug("worker %s takes no messages: %s", self.pid, error)
            self.kill()

    def _on_unsendable(self, message: ToWorker) -> None:
        log.exception("a job cannot be sent to a worker")
        self._post(self._events.on_unsendable, message)

    def _receive_all(self) -> None:
        try:
            while True:
                self._post(self._events.on_messages, self._link.receive())
        except (EOFError, ConnectionError):
            pass
        except Exception:  # unpickling runs code of the result's classes: what follows it cannot be trusted
            log.exception("a message from worker %s cannot be read: it is killed", self.pid)
        self.kill()
        returncode = self._process.wait()
        self._link.end()
        self._sender.join()
        self._link.close()
        self._post(self._events.on_exit, returncode)

    def _post(self, callback: Callable[[Any], None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            log.debug("worker %s outlived the event loop", self.pid)


def _started(child_end: socket.socket, device: str, threads: int) -> subprocess.Popen[bytes]:
    # To be called by the loop's own thread: PR_SET_PDEATHSIG in the child means the death of this thread.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "featsvc.pool.worker", str(child_end.fileno())],
        pass_fds=(child_end.fileno(),),
        stdin=subprocess.DEVNULL,
        env=_environment(device, threads),
    )


def _environment(device: str, threads: int) -> dict[str, str]:
    """This process's environment, passed on unread, with what must be set before a library loads."""
    return {
        **(CPU_ENVIRONMENT if device == "cpu" else {}),
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
