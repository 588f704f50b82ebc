"""A worker as Ray runs it: the same pipeline as in a process of this machine.

On the gateway's node it has the same link too, with its two threads. Elsewhere it is fed and heard by calls: `hear` and
`say` have a thread of Ray each, and `say` is called again when it ends. The pipeline has a thread of ours.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from featsvc import __version__
from featsvc.errors import FeatsvcError, Unavailable
from featsvc.logs import setup
from featsvc.pool.cluster.parcels import Parcel, message_of
from featsvc.pool.cluster.rendezvous import Rendezvous, connected
from featsvc.pool.contract.messages import Boot, FromWorker, Refused
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.frames import Packed, packed
from featsvc.pool.worker.building import built
from featsvc.pool.worker.failures import unsent
from featsvc.pool.worker.pipeline import Pipeline
from featsvc.pool.worker.serving import end_with, link_to_pool, receive_all, send_all

SAID_AT_ONCE = 2000
"""Ray keeps some 90 bytes of each, in the gateway, until the generator ends."""


@dataclass(frozen=True)
class Whereabouts:
    """Where a worker runs."""

    pid: int
    node: str
    """The address of its machine."""
    node_id: str
    has_link: bool = False
    """Whether it is connected to the gateway's socket, so that no calls are needed. Another version may not tell."""


@dataclass(frozen=True)
class ActorBoot:
    """What an actor is told, packed."""

    boot: Boot
    rendezvous: Rendezvous | None
    """Where it finds the gateway's socket, if there is one."""


class WorkerActor:
    """One life of a worker. Where its rendezvous leads to the gateway everything goes over that link, and not `say`."""

    def __init__(self, version: str, boot: bytes, *further: object) -> None:
        """`version` is the gateway's, `boot` its packed ActorBoot, which another version might not be able to read.

        That it can say so in any case what is new goes into `boot`. `further` is what other versions pass beside it.
        """
        self._outbox: queue.SimpleQueue[tuple[FromWorker, ...]] = queue.SimpleQueue()
        self._large = deque[Packed]()
        self._pipeline: Pipeline
        self._is_built = threading.Event()
        self._link: Link | None = None
        if version != __version__:
            self._refuse(
                Unavailable(
                    f"a machine of the cluster has featsvc {__version__} and the gateway {version}: install the same"
                )
            )
            return
        told: ActorBoot = pickle.loads(boot)
        setup(told.boot.log_level, told.boot.log_format)
        if sock := connected(told.rendezvous, ray.get_runtime_context().get_node_id()):
            self._link = link_to_pool(sock)
            threading.Thread(target=send_all, args=(self._link,), name="send", daemon=True).start()
        threading.Thread(target=self._work, args=(told.boot,), name="work", daemon=True).start()

    def hear(self, stream_parts: int, *parts: Any) -> None:
        """Take a message of the pool."""
        self._is_built.wait()
        try:
            self._pipeline.put(message_of(stream_parts, parts))
        except BaseException:  # a message that cannot be read: what follows it cannot be trusted
            end_with("unreadable message")

    def where(self) -> Whereabouts:
        """Where this runs."""
        node_id = ray.get_runtime_context().get_node_id()
        return Whereabouts(os.getpid(), ray.util.get_node_ip_address(), node_id, self._link is not None)

    def say(self) -> Iterator[tuple[Parcel, ...]]:
        """What is to be said next, so many times; small messages overtake large ones, of which each has its turn."""
        is_turn_of_large = False
        for _ in range(SAID_AT_ONCE):
            small = () if is_turn_of_large and self._large else self._small()
            is_turn_of_large = bool(small)
            yield small or (Parcel.of(self._large.popleft()),)

    def _small(self) -> tuple[Parcel, ...]:
        """What is small of all that is to be said; nothing where something large is next. Waits for either."""
        messages, small = list[FromWorker](), list[Parcel]()
        if not self._large:
            messages += self._outbox.get()
        while not self._outbox.empty():
            messages += self._outbox.get()
        for each in map(_packed, messages):
            if each.is_large:
                self._large.append(each)
            else:
                small.append(Parcel.of(each))
        return tuple(small)

    def _post(self, *messages: FromWorker) -> None:
        if self._link:
            self._link.post(*messages)
        else:
            self._outbox.put(messages)

    def _refuse(self, error: FeatsvcError) -> None:
        """Say why this worker can never work here; the pool then ends it."""
        self._post(Refused(error))

    def _work(self, boot: Boot) -> None:
        try:
            engines = built(boot)
        except FeatsvcError as error:
            self._refuse(error)
            return
        except BaseException:  # whatever the engines' libraries raise when they cannot start
            end_with("the engines cannot be built")
            return
        self._pipeline = Pipeline(engines, boot, self._post)
        self._is_built.set()
        if self._link:
            receiving = self._link, self._pipeline
            threading.Thread(target=receive_all, args=receiving, name="receive", daemon=True).start()
        try:
            self._pipeline.run()
        except BaseException:  # a defect
            end_with("the worker failed")


def _packed(message: FromWorker) -> Packed:
    """A message, packed; what cannot be becomes an answer that says so."""
    try:
        return packed(message)
    except Exception as error:  # pickling runs code of the message's classes
        return packed(unsent(message, error))
