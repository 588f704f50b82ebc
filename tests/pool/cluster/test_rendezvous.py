"""Who is let in where an actor of the gateway's node connects."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from featsvc.pool.cluster.rendezvous import BACKLOG, Listener, connected

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all goes through Ray")
NODE = "node"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener(NODE)
    yield listener
    listener.close()


def stranger(listener: Listener, said: bytes = b"") -> socket.socket:
    """Somebody who has found the name."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(listener.rendezvous.name)
    sock.sendall(said)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """Whether the other end is closed. Fails where that would have to be waited for."""
    try:
        return sock.recv(1, socket.MSG_DONTWAIT) == b""
    except ConnectionResetError:  # with what was said unread
        return True


def test_an_actor_of_the_node_is_connected(listener: Listener) -> None:
    theirs = connected(listener.rendezvous, NODE)
    ours = listener.accepted()
    assert theirs
    assert ours
    with ours, theirs:
        theirs.sendall(b"to the gateway")
        ours.sendall(b"to the actor")
        assert (ours.recv(99), theirs.recv(99)) == (b"to the gateway", b"to the actor")
        assert (ours.gettimeout(), theirs.gettimeout()) == (None, None), "a thread may wait for either"


def test_who_does_not_know_the_token_is_sent_away_and_holds_up_nobody(listener: Listener) -> None:
    wrong = replace(listener.rendezvous, token=bytes(32))
    with stranger(listener) as silent, stranger(listener, b"short") as short, stranger(listener) as gone:
        gone.close()
        guess = connected(wrong, NODE)
        theirs = connected(listener.rendezvous, NODE)
        ours = listener.accepted()
        assert guess
        assert ours
        assert theirs
        with guess, ours, theirs:
            assert all(map(is_closed, (silent, short, guess)))
            theirs.sendall(b"I")
            assert ours.recv(1) == b"I"


def test_where_nobody_has_connected_nobody_is_waited_for(listener: Listener) -> None:
    assert listener.accepted() is None


@pytest.mark.parametrize("node", ["another node", ""])
def test_an_actor_of_another_node_does_not_try(node: str, listener: Listener) -> None:
    assert connected(listener.rendezvous, node) is None
    assert connected(None, node) is None
    assert listener.accepted() is None


def test_another_user_is_not_trusted_at_either_end(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = connected(listener.rendezvous, NODE)
    assert theirs
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with theirs:
        assert listener.accepted() is None
        assert connected(listener.rendezvous, NODE) is None


def test_an_actor_does_not_wait_for_a_gateway_that_is_gone_or_is_overrun(listener: Listener) -> None:
    overrun = [stranger(listener) for _ in range(BACKLOG + 1)]
    assert connected(listener.rendezvous, NODE) is None
    for each in overrun:
        each.close()
    listener.close()
    assert connected(listener.rendezvous, NODE) is None


def test_two_actors_have_names_and_tokens_of_their_own(listener: Listener) -> None:
    other = Listener(NODE)
    other.close()
    assert other.rendezvous.name != listener.rendezvous.name
    assert str(other.rendezvous.token) not in str(other.rendezvous)
    assert other.rendezvous.token != listener.rendezvous.token
