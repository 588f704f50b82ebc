"""The gateway's end of a link to an actor on another node: to send is to call the actor, and so is to receive."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from featsvc.pool.cluster.parcels import Parcel, StoredPictures, message_of
from featsvc.pool.transport.frames import packed
from featsvc.pool.transport.sender import OnUnsendable

HEARING, SAYING = "hearing", "saying"
"""The threads of an actor."""


class RemoteLink:
    """Has the methods of `featsvc.pool.transport.channel.Link`."""

    def __init__(self, actor: Any, pictures: StoredPictures) -> None:  # Any: Ray makes its class
        self._hear = actor.hear.options(concurrency_group=HEARING)
        self._say = actor.say.options(num_returns="streaming", concurrency_group=SAYING)
        self._pictures = pictures
        self._outbox: queue.Queue[Any] = queue.Queue()
        self._said: Iterator[Any] = iter(())

    def post(self, message: object) -> None:
        """Have a small message sent, at once where nothing is in the way; the loop's thread alone."""
        if self._outbox.unfinished_tasks:
            self._outbox.put(message)
            return
        try:
            self._send(message)
        except Exception:  # whatever it is, the sending thread finds and tells it
            self._outbox.put(message)

    def post_later(self, message: object) -> None:
        """The same for a message that takes long to pack: the sending thread does it."""
        self._outbox.put(message)

    def end(self) -> None:
        """Have `send_all` return when it has sent what was posted before."""
        self._outbox.put(None)

    def send_all(self, on_unsendable: OnUnsendable) -> None:
        """Send what is posted, until `end`.

        A message that cannot be packed, or that the object store has no room for, goes to `on_unsendable`.
        """
        while (message := self._outbox.get()) is not None:
            try:
                self._send(message)
            except (ObjectStoreFullError, OutOfDiskError):
                on_unsendable(message, MemoryError("no room in the object store"))
            except Exception as error:  # pickling runs code of the message's classes
                on_unsendable(message, error)
            self._outbox.task_done()
            del message  # its picture must not wait for the next

    def receive(self) -> list[Any]:
        """The next messages, at least one; blocks, and raises RayError when the actor has ended.

        Their arrays are read-only.
        """
        while (reference := next(self._said, None)) is None:
            self._said = self._say.remote()
        return [message_of(each.stream_parts, each.parts) for each in ray.get(reference)]

    def await_end(self, timeout_s: float) -> None:
        """Wait until Ray has noticed that the actor has ended, which it may do late; raises RayError that says why."""
        said = self._say.remote()
        if ray.wait([said], timeout=timeout_s)[0]:
            ray.get(next(said))

    def close(self) -> None:
        """Ray lets go of what it has by itself."""

    def _send(self, message: object) -> None:
        parcel = Parcel.of(packed(message), self._pictures.stored)
        self._hear.remote(parcel.stream_parts, *parcel.parts)
