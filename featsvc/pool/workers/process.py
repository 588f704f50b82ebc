"""A worker process as the gateway holds it: the child, its socket, and two threads beside the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from featsvc.pool.contract.messages import Boot, ToWorker
from featsvc.pool.contract.worker import Condition, Description, Events
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.local_process import LocalProcess
from featsvc.pool.workers.templates import Templates
from featsvc.work.devices import is_gpu, is_named

log = logging.getLogger("featsvc.pool.workers.process")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
KEPT_RESULT_BYTES = (
    320 << 20
)  # of shared memory in which large results come: four of the largest in one message
LRU_CAPACITY = "LRU_CACHE_CAPACITY"
HOST_ENVIRONMENT = {
    # glibc returns and faults in every large temporary: a third of the time of automatic masks on a CPU. Workers of
    # GPUs decode, resize and measure masks in the host's memory too.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 26),
    # Otherwise each thread keeps freed memory of its own, and a worker grows by that.
    "MALLOC_ARENA_MAX": "2",
    # Threads that spin while they wait take the cores from the gateway: three times the processor time, and seconds
    # instead of milliseconds where there are no more cores than threads.
    "OMP_WAIT_POLICY": "PASSIVE",
    # MKL would keep some 30 MB for each thread that has multiplied by it; asking anew costs nothing to be seen.
    "MKL_DISABLE_FAST_MM": "1",
    # oneDNN for the process, and ideep, between it and torch, for each thread and kind of layer, keep kernels of the
    # last 1,024 sizes that layers were asked about, of up to 4 MB each; so many pictures in a batch are a size too. One
    # size of CLIP or DINO takes some 8 kernels, one of SAM2 40 in fp32 and 80 in bf16.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    LRU_CAPACITY: "64",
}
# Pictures of any size would leave gaps in the card's memory that fit no other. torch before 2.9 knows the second name
# alone, and one that knows both reads the first.
GPU_ENVIRONMENT = dict.fromkeys(("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"), "expandable_segments:True")


class WorkerProcess:
    """A worker on this machine: forked from a template, or a fresh interpreter that runs `featsvc.pool.worker`."""

    def __init__(self, boot: Boot, events: Events, reserve: Reserve, templates: Templates | None) -> None:
        self._events = events
        self._number = boot.worker
        self._loop = asyncio.get_running_loop()
        ours, theirs = reserve.use(socket.socketpair)
        self._link = Link(ours, KEPT_RESULT_BYTES, reserve=reserve)
        environment = _environment(boot.device, boot.threads)
        fork = templates.fork(boot, environment) if templates else None
        self._process = LocalProcess(theirs, environment, fork, reserve)
        self._sender = threading.Thread(target=self._send_all, name=f"to-worker-{boot.worker}", daemon=True)
        self._reader = threading.Thread(
            target=self._receive_all, name=f"from-worker-{boot.worker}", daemon=True
        )
        self.send(boot)
        try:
            self._sender.start()
            self._reader.start()
        except BaseException:  # no memory for a thread: then there is no worker either
            self._process.abandon()
            self._link.end()
            self._link.close()
            raise

    def describe(self) -> Description:
        """Which process it is."""
        return Description(self._process.pid)

    def condition(self) -> Condition:
        """Why it may not answer, as Linux tells."""
        return self._process.condition()

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Send without waiting; lost if the worker is dying, which on_exit then tells.

        What is `large` is packed by a thread, for that would hold up the event loop.
        """
        (self._link.post_later if large else self._link.post)(message)

    def kill(self) -> None:
        """End the process at once; on_exit follows."""
        self._process.kill()

    def resume(self) -> None:
        """Let the process go on that a signal has stopped."""
        self._process.resume()

    def _send_all(self) -> None:
        try:
            self._link.send_all(self._on_unsendable)
        except OSError as error:
            log.debug("worker %s takes no messages: %s", self._number, error)
            self.kill()
        except (
            BaseException
        ):  # a defect: what is posted arrives no more, and its callers must not wait for it
            log.exception("messages to worker %s cannot be sent: it is killed", self._number)
            self.kill()

    def _on_unsendable(self, message: ToWorker, error: Exception) -> None:
        log.error("a job cannot be sent to a worker", exc_info=error)
        self._post(partial(self._events.on_unsendable, message), error)

    def _receive_all(self) -> None:
        try:
            if self._process.begin():
                log.info("worker has its process", extra={"worker": self._number, "pid": self._process.pid})
                self._receive()
        except Exception as error:  # no memory or processes left: as if it had died
            log.error("worker cannot be started: %s", error, extra={"worker": self._number})
        self.kill()
        returncode = self._process.wait()
        blameless = self._process.ended_with_template
        try:
            self._link.end()
            self._sender.join()
            self._link.close()
        finally:
            self._post(partial(self._events.on_exit, blameless=blameless), returncode)

    def _receive(self) -> None:
        try:
            while True:
                self._post(self._events.on_messages, self._link.receive())
        except (EOFError, ConnectionError):
            pass
        except Exception:  # unpickling runs code of the result's classes: what follows it cannot be trusted
            log.exception("a message from worker %s cannot be read: it is killed", self._number)

    def _post(self, callback: Callable[[Any], None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            log.debug("worker %s outlived the event loop", self._number)


def worker_environment(device: str, threads: int) -> dict[str, str]:
    """The variables that a worker needs on any machine: those that this process was given, and else ours.

    How many threads compute is a flag of ours.
    """
    ours = {**HOST_ENVIRONMENT, **(GPU_ENVIRONMENT if is_gpu(device) else {})}
    names = os.environ.keys() & (HOST_ENVIRONMENT.keys() | GPU_ENVIRONMENT.keys())
    given = {name: os.environ[name] for name in names if _is_fit(name, os.environ[name])}
    if given.keys() & GPU_ENVIRONMENT.keys():  # what is set by one name is not to be overruled by the other
        ours = {name: value for name, value in ours.items() if name not in GPU_ENVIRONMENT}
    return {**ours, **given, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def _is_fit(name: str, value: str) -> bool:
    """Whether the library that reads a variable bears its value: ideep dies of any but a whole number from 1 on."""
    return name != LRU_CAPACITY or (value.isdecimal() and 0 < int(value) < 1 << 31)


def _environment(device: str, threads: int) -> dict[str, str]:
    """This process's environment, passed on unread, with what must be set before a library loads.

    Our own variables stay here: a worker is told what it needs, and API keys it does not.
    """
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")},
        **worker_environment(device, threads),
        **({"CUDA_VISIBLE_DEVICES": device} if is_named(device) else {}),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
