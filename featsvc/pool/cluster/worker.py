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
from typing import Any

import ray
from ray.exceptions import RayError

from featsvc import __version__
from featsvc.pool.cluster.actor import ActorBoot, Whereabouts, WorkerActor
from featsvc.pool.cluster.environment import runtime_env
from featsvc.pool.cluster.parcels import StoredPictures
from featsvc.pool.cluster.remote_link import HEARING, SAYING, RemoteLink
from featsvc.pool.cluster.rendezvous import Listener
from featsvc.pool.contract.messages import Boot, FromWorker, Refused, ToWorker
from featsvc.pool.contract.settings import Share
from featsvc.pool.contract.worker import Condition, Description, Events
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import Reserve, is_no_room
from featsvc.pool.workers.process import KEPT_RESULT_BYTES

log = logging.getLogger("featsvc.pool.cluster.worker")

PATIENCE_S = 30.0
"""So long a worker may wait for a place in the cluster before the log says so."""
NOTICE_S = 5.0
"""So long the next start waits for Ray to notice an actor's end; less than the pool waits for what it has killed."""
ENDED = 1  # Ray does not tell how a process ended


class RayWorker:
    """A worker in a process of Ray, wherever there is a place for its share.

    On the gateway's own node it has the link of a worker process; elsewhere calls of the actor take its place.
    """

    def __init__(
        self, boot: Boot, events: Events, share: Share, pictures: StoredPictures, reserve: Reserve
    ) -> None:
        self._number = boot.worker
        self._events = events
        self._share, self._reserve = share, reserve
        self._loop = asyncio.get_running_loop()
        self._place: Whereabouts | None = None
        self._listener = self._listening()
        try:
            self._actor = self._started(boot)
        except BaseException:  # whatever Ray raises: then there is no worker either
            self._close_listener()
            raise
        self._remote = RemoteLink(self._actor, pictures)
        # Which of the links it is shows when the actor has a place; until then messages wait.
        self._link: Link | RemoteLink | None = None
        self._waiting: list[ToWorker] = []
        self._links: queue.SimpleQueue[Link | RemoteLink | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_all, name=f"to-worker-{self._number}", daemon=True)
        self._reader = threading.Thread(
            target=self._receive_all, name=f"from-worker-{self._number}", daemon=True
        )
        try:
            self._sender.start()
            self._reader.start()
        except BaseException:  # no memory for a thread: then there is no worker either
            self._links.put(None)
            self.kill()
            self._close_listener()
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
        if self._link is None:
            self._waiting.append(message)
        elif large:
            self._link.post_later(message)
        else:
            self._link.post(message)

    def kill(self) -> None:
        """End the actor at once; on_exit follows."""
        with suppress(RayError):  # it has ended, or the connection has
            ray.kill(self._actor)

    def _listening(self) -> Listener | None:
        try:
            return self._reserve.use(partial(Listener, ray.get_runtime_context().get_node_id()))
        except OSError as error:  # a system without such sockets
            level = logging.WARNING if is_no_room(error) else logging.INFO
            log.log(level, "a worker on this node will be reached by calls: %s", error)
            return None

    def _started(self, boot: Boot) -> Any:  # Any: Ray makes its class
        options = {
            "num_cpus": self._share.cpus,
            "num_gpus": self._share.gpus,
            "runtime_env": runtime_env(boot),
            # The pool starts the next one itself, after a pause and with what it has learned of the last.
            "max_restarts": 0,
            "max_task_retries": 0,
            "enable_task_events": False,
        }
        actor = ray.remote(concurrency_groups={HEARING: 1, SAYING: 1})(WorkerActor).options(**options)
        rendezvous = self._listener.rendezvous if self._listener else None
        told = ActorBoot(replace(boot, workers_on_device=self._share.workers_on_gpu), rendezvous)
        return actor.remote(__version__, pickle.dumps(told))

    def _send_all(self) -> None:
        """A thread's work."""
        link = self._links.get()
        if link is None:
            return
        try:
            link.send_all(self._on_unsendable)
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
        self._post(self._events.on_unsendable, message, error)

    def _receive_all(self) -> None:
        """A thread's work."""
        link: Link | RemoteLink | None = None
        reason, is_noticed = "", False
        try:
            link = self._connected()
            while True:
                self._take(link.receive())
        except RayError as error:
            reason, is_noticed = _last_line(error), True
        except (EOFError, ConnectionError) as error:  # the link of this node ends before Ray notices
            log.debug("worker %s says nothing more: %s", self._number, error)
        except SystemExit:  # the connection to Ray was closed
            log.debug("worker %s outlived the connection to Ray", self._number)
            is_noticed = True
        except OSError as error:
            # As where this process has no descriptors or memory left for what the worker sends.
            log.error("worker %s cannot be heard here: %s: it is killed", self._number, error)
        except Exception:  # unpickling runs code of the result's classes: what follows it cannot be trusted
            log.exception("a message from worker %s cannot be read: it is killed", self._number)
        self.kill()
        try:
            self._end(link)
            if not is_noticed:
                self._post(self._events.on_lost, self._has_lost_its_machine())
                reason = self._ray_s_notice()
        finally:
            log.info("the actor of a worker has ended", extra={"worker": self._number, "reason": reason})
            self._post(self._exit, self._has_lost_its_machine())

    def _connected(self) -> Link | RemoteLink:
        """The link, once the actor has a place. Raises RayError where it never has, ConnectionError without a link."""
        try:
            place: Whereabouts = ray.get(self._actor.where.remote())
            link = self._own_link(place) or self._remote
        finally:
            self._close_listener()  # nobody else is to connect
        self._links.put(link)
        self._post(self._placed, place, link)
        return link

    def _ray_s_notice(self) -> str:
        """Why the actor has ended, as soon as Ray has its share for the next one; empty where it does not notice."""
        try:
            self._remote.await_end(NOTICE_S)
        except RayError as error:
            return _last_line(error)
        except SystemExit:  # the connection to Ray was closed
            log.debug("worker %s outlived the connection to Ray", self._number)
        return ""

    def _own_link(self, place: Whereabouts) -> Link | None:
        """The link to an actor that has connected. Raises ConnectionError where it cannot be told from others."""
        if not (place.has_link and self._listener):
            return None
        sock = self._reserve.use(self._listener.accepted)
        if sock is None:
            raise ConnectionError("the socket of an actor of this node was closed")
        return Link(sock, KEPT_RESULT_BYTES, reserve=self._reserve)

    def _end(self, link: Link | RemoteLink | None) -> None:
        """Let go of what the worker had here."""
        if link is None:
            self._links.put(None)
            return
        link.end()
        if isinstance(link, Link):
            self._sender.join()
        link.close()

    def _close_listener(self) -> None:
        if self._listener:
            self._listener.close()

    def _take(self, messages: list[FromWorker]) -> None:
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

    def _placed(self, place: Whereabouts, link: Link | RemoteLink) -> None:
        self._place, self._link = place, link
        for message in self._waiting:
            link.post_later(message)
        self._waiting.clear()
        self._patience.cancel()
        about = {"pid": place.pid, "machine": place.node, "shares_memory": place.has_link}
        log.info("worker is placed", extra={"worker": self._number, **about})

    def _exit(self, blameless: bool) -> None:
        self._patience.cancel()
        self._events.on_exit(ENDED, blameless)

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


def _last_line(error: RayError) -> str:
    """What Ray says of an end; before that it tells of the actor."""
    return str(error).strip().rpartition("\n")[2]
