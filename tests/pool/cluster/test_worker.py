"""A worker over Ray as the gateway holds it, without Ray's runtime: the actor is a socket here."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("ray")

from ray.exceptions import RayError

from featsvc.pool.cluster import worker
from featsvc.pool.cluster.actor import ActorBoot, Whereabouts
from featsvc.pool.cluster.parcels import StoredPictures
from featsvc.pool.cluster.remote_link import RemoteLink
from featsvc.pool.cluster.rendezvous import Rendezvous, connected
from featsvc.pool.cluster.worker import RayWorker
from featsvc.pool.contract.messages import Boot, FromWorker, Load, Pong, ToWorker
from featsvc.pool.contract.settings import PoolSettings, Share
from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.transport.frames import HEADER, LARGE_BYTES, Kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all goes through Ray")
NODE = "node"
FULL = 4 << 20
"""Bytes that no socket takes which nobody reads."""
Start = Callable[[], RayWorker]


class FakeRay:
    """What RayWorker asks of Ray; its actor connects when it is made."""

    def __init__(self) -> None:
        self.has_noticed = threading.Event()
        self.has_node = True
        self.refuses: Exception | None = None
        self.rendezvous: Rendezvous | None = None
        self.socket: socket.socket | None = None

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: NODE)

    def remote(self, **_: object) -> Any:
        return lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._make))

    def _make(self, version: str, boot: bytes) -> Any:
        told = pickle.loads(boot)
        assert isinstance(told, ActorBoot)
        self.rendezvous = told.rendezvous
        if self.refuses:
            raise self.refuses
        self.socket = connected(self.rendezvous, NODE)
        here = Whereabouts(os.getpid(), "127.0.0.1", NODE, has_link=self.socket is not None)
        method = SimpleNamespace(options=lambda **_: None, remote=lambda: here)
        return SimpleNamespace(where=method, hear=method, say=method)

    def get(self, answer: object) -> object:
        return answer

    def nodes(self) -> list[dict[str, object]]:
        return [{"NodeID": NODE, "Alive": self.has_node}]

    def kill(self, _: object) -> None:
        """The actor ends, and with it its socket."""
        ours, self.socket = self.socket, None  # at once, for two threads may end it
        if ours:
            with ours:
                ours.shutdown(socket.SHUT_RDWR)


class Heard(asyncio.Queue[str]):
    """What a worker tells, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = asyncio.Event()

    def on_messages(self, messages: list[FromWorker]) -> None:
        for each in messages:
            self.put_nowait(type(each).__name__)

    def on_unsendable(self, message: ToWorker, error: Exception) -> None:
        self.put_nowait("unsendable")

    def on_lost(self, blameless: bool = False) -> None:
        self.put_nowait("lost with its machine" if blameless else "lost")

    def on_exit(self, returncode: int, blameless: bool = False) -> None:
        self.put_nowait("exit")
        self.exits.set()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Ray, which notices an end when the test lets it."""
    fake = FakeRay()
    monkeypatch.setattr(worker, "ray", fake)
    monkeypatch.setattr(RemoteLink, "await_end", lambda _, timeout_s: fake.has_noticed.wait())
    return fake


@pytest_asyncio.fixture
async def heard() -> Heard:
    return Heard()


@pytest_asyncio.fixture
async def start(fake: FakeRay, heard: Heard) -> AsyncIterator[Start]:
    """Starts the worker, which ends with the test."""
    workers = list[RayWorker]()

    def started() -> RayWorker:
        share, pictures = Share(cpus=1.0, gpus=0.0), StoredPictures(lambda picture: picture)
        workers.append(RayWorker(Boot.of(0, "cpu", PoolSettings()), heard, share, pictures, Reserve(0)))
        return workers[0]

    yield started
    fake.has_noticed.set()
    fake.kill(None)
    if workers:
        await heard.exits.wait()


def is_open(rendezvous: Rendezvous | None) -> bool:
    """Whether somebody may still connect."""
    if sock := connected(rendezvous, NODE):
        sock.close()
    return sock is not None


async def test_the_end_of_the_link_is_told_before_ray_notices_and_the_exit_after(
    fake: FakeRay, start: Start, heard: Heard
) -> None:
    start()
    fake.kill(None)
    assert await heard.get() == "lost"
    assert heard.empty()
    fake.has_noticed.set()
    assert await heard.get() == "exit"


async def test_who_is_lost_with_its_machine_is_told_so_at_once(
    fake: FakeRay, start: Start, heard: Heard
) -> None:
    start()
    assert fake.socket
    fake.socket.sendall(pickled(Pong()))
    assert await heard.get() == "Pong"
    fake.has_node = False
    fake.kill(None)
    assert await heard.get() == "lost with its machine"


async def test_a_message_that_cannot_be_read_ends_the_actor_also_while_much_is_on_its_way_to_it(
    fake: FakeRay, start: Start, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    assert fake.socket
    fake.socket.sendall(pickled(Pong()))
    assert await heard.get() == "Pong"
    for _ in range(FULL // LARGE_BYTES * 2):
        held.send(Load(0, "m" * (LARGE_BYTES // 2)))
    fake.socket.sendall(HEADER.pack(4, Kind.MESSAGE) + b"?!?!")
    assert await heard.get() == "lost"
    assert "cannot be read: it is killed" in caplog.text


def pickled(message: object) -> bytes:
    content = pickle.dumps(message)
    return HEADER.pack(len(content), Kind.MESSAGE) + content


async def test_a_lack_of_descriptors_is_not_told_as_the_end_of_the_actor(
    fake: FakeRay,
    start: Start,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Link) -> list[object]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Link, "receive", full)
    start()
    assert await heard.get() == "lost"
    assert (
        f"cannot be heard here: [Errno {errno.EMFILE}] {os.strerror(errno.EMFILE)}: it is killed"
        in caplog.text
    )
    assert "cannot be read" not in caplog.text


async def test_nobody_can_connect_once_the_actor_has(fake: FakeRay, start: Start, heard: Heard) -> None:
    start()
    assert fake.socket
    fake.socket.sendall(pickled(Pong()))
    assert await heard.get() == "Pong"
    assert not is_open(fake.rendezvous)


async def test_nobody_can_connect_where_ray_makes_no_actor(fake: FakeRay, start: Start) -> None:
    fake.refuses = ValueError("no such share")
    with pytest.raises(ValueError, match="no such share"):
        start()
    assert not is_open(fake.rendezvous)


@pytest.mark.parametrize(
    ("number", "level"),
    [(errno.EMFILE, "WARNING"), (errno.EAFNOSUPPORT, "INFO")],
    ids=["full", "other system"],
)
async def test_why_an_actor_of_this_node_is_reached_by_calls_is_told(
    number: int,
    level: str,
    start: Start,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(node: str) -> None:
        raise OSError(number, os.strerror(number))

    caplog.set_level("INFO")
    monkeypatch.setattr(worker, "Listener", fails)
    monkeypatch.setattr(RemoteLink, "receive", lambda _: (_ for _ in ()).throw(RayError("ended")))
    start()
    assert await heard.get() == "exit"
    (record,) = (each for each in caplog.records if "reached by calls" in each.message)
    assert record.levelname == level
