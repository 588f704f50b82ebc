"""A worker over Ray as the gateway holds it: an actor, and two threads beside the loop."""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError

from featsvc import __version__
from featsvc.pool.cluster.actor import Whereabouts, WorkerActor
from featsvc.pool.cluster.parcels import Parcel, StoredPictures, message_of
from featsvc.pool.contract.messages import Boot, FromWorker, Refused, ToWorker
from featsvc.pool.contract.settings import Share
from featsvc.pool.contract.worker import Condition, Description, Events
from featsvc.pool.transport.frames import packed
from featsvc.pool.workers.process import worker_environment

log = logging.getLogger("featsvc.pool.cluster.worker")

PATIENCE_S = 30.0
"""So long a worker may wait for a place in the cluster before the log says so."""
HEARING, SAYING = "hearing", "saying"
"""The threads of an actor."""
ENDED = 1  # Ray does not tell how a process ended


class RayWorker:
    """A worker in a process of Ray, wherever there is a place for its share."""

    def __init__(self, boot: Boot, events: Events, share: Share, pictures: StoredPictures) -> None:
        self._number = boot.worker
        self._events = events
        self._share = share
        self._pictures = pictures
        self._loop = asyncio.get_running_loop()
        self._place: Whereabouts | None = None
        boot = replace(boot, workers_on_device=share.workers_on_gpu)
        self._actor = (
            ray.remote(concurrency_groups={HEARING: 1, SAYING: 1})(WorkerActor)
            .options(
                num_cpus=share.cpus,
                num_gpus=share.gpus,
                runtime_env={"env_vars": worker_environment(boot.device, boot.threads)},
                # The pool starts the next one itself, after a pause and with what it has learned of the last.
                max_restarts=0,
                max_task_retries=0,
                enable_task_events=False,
            )
            .remote(__version__, pickle.dumps(boot))
        )
        self._hear = self._actor.hear.options(concurrency_group=HEARING)
        self._say = self._actor.say.options(num_returns="streaming", concurrency_group=SAYING)
        self._outbox: queue.Queue[ToWorker | None] = queue.Queue()
        self._sender = threading.Thread(target=self._send_all, name=f"to-worker-{self._number}", daemon=True)
        self._reader = threading.Thread(
            target=self._hear_all, name=f"from-worker-{self._number}", daemon=True
        )
        try:
            self._sender.start()
            self._reader.start()
        except BaseException:  # no memory for a thread: then there is no worker either
            self._outbox.put(None)
            self.kill()
            raise
        self._patience = self._loop.call_later(PATIENCE_S, self._tell_that_it_waits)

    def describe(self) -> Description:
        """Which process it is."""
        return Description(self._place.pid, self._place.node) if self._place else Description(None)

    def condition(self) -> Condition:
        """Nobody can look into another machine."""
        return Condition.UNKNOWN

    def resume(self) -> None:
        """It was found stopped by nobody."""

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Send without waiting; lost if the worker is dying, which on_exit then tells."""
        if large or self._outbox.unfinished_tasks:
            self._outbox.put(message)
        else:
            self._send(message)

    def kill(self) -> None:
        """End the actor at once; on_exit follows."""
        with suppress(RayError):  # it has ended, or the connection has
            ray.kill(self._actor)

    def _send_all(self) -> None:
        while (message := self._outbox.get()) is not None:
            self._send(message)
            self._outbox.task_done()
            del message  # its picture must not wait for the next

    def _send(self, message: ToWorker) -> None:
        try:
            parcel = Parcel.of(packed(message), self._pictures.stored)
            self._hear.remote(parcel.stream_parts, *parcel.parts)
        except (ObjectStoreFullError, OutOfDiskError):
            log.error("the object store has no room for a job")
            self._post(self._events.on_unsendable, message, MemoryError("no room in the object store"))
        except Exception as error:  # pickling runs code of the message's classes
            log.error("a job cannot be sent to a worker", exc_info=error)
            self._post(self._events.on_unsendable, message, error)

    def _hear_all(self) -> None:
        reason = ""
        try:
            self._post(self._placed, ray.get(self._actor.where.remote()))
            while True:
                for each in self._say.remote():
                    self._take(ray.get(each))
        except RayError as error:
            reason = str(error).strip().rpartition("\n")[2]
        except SystemExit:  # the connection to Ray was closed
            log.debug("worker %s outlived the connection to Ray", self._number)
        except Exception:  # unpickling runs code of the result's classes: what follows it cannot be trusted
            log.exception("a message from worker %s cannot be read: it is killed", self._number)
        self.kill()
        self._outbox.put(None)
        log.info("the actor of a worker has ended", extra={"worker": self._number, "reason": reason})
        self._post(self._exit, self._has_lost_its_machine())

    def _take(self, said: tuple[Parcel, ...]) -> None:
        messages: list[FromWorker] = [message_of(each.stream_parts, each.parts) for each in said]
        self._post(self._events.on_messages, messages)
        if any(isinstance(each, Refused) for each in messages):
            self.kill()

    def _has_lost_its_machine(self) -> bool:
        """Whether the machine of the worker has left the cluster, so that it did not die of its work."""
        if self._place is None:
            return False
        try:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        except Exception:  # no connection either: Ray raises what its client has
            return False
        return self._place.node_id not in alive

    def _placed(self, place: Whereabouts) -> None:
        self._place = place
        self._patience.cancel()
        log.info("worker is placed", extra={"worker": self._number, "pid": place.pid, "machine": place.node})

    def _exit(self, with_machine: bool) -> None:
        self._patience.cancel()
        self._events.on_exit(ENDED, with_machine)

    def _tell_that_it_waits(self) -> None:
        log.warning(
            "worker waits for a place in the cluster: %g CPUs and %g GPUs are free on no machine",
            self._share.cpus,
            self._share.gpus,
            extra={"worker": self._number},
        )

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(partial(callback, *arguments))
        except RuntimeError:  # the loop is closed: nobody is left to tell
            log.debug("worker %s outlived the event loop", self._number)
