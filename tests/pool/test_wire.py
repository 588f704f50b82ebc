"""Messages cross a socket whole, large ones beside it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from featsvc.pool.wire import LARGE_BYTES, Unsendable, receive, send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


def crossed(message: object, pair: Pair) -> object:
    sender = threading.Thread(target=send, args=(pair[0], message))
    sender.start()
    received = receive(pair[1])
    sender.join()
    return received


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("nbytes", [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 5_000_003])
def test_bytes_of_any_size_arrive_as_they_were(nbytes: int, pair: Pair) -> None:
    content = np.random.default_rng(nbytes).bytes(nbytes)
    assert crossed(("name", content), pair) == ("name", content)


@pytest.mark.parametrize("shape", [(0,), (3, 5), (129, 257, 3), (64 * 1024 // 8,)])
def test_arrays_of_any_shape_arrive_as_they_were(shape: tuple[int, ...], pair: Pair) -> None:
    array = np.random.default_rng(0).random(shape)
    received = crossed({"array": array, "transposed": array.T, "strided": array[::2]}, pair)
    assert isinstance(received, dict)
    np.testing.assert_array_equal(received["array"], array)
    np.testing.assert_array_equal(received["transposed"], array.T)
    np.testing.assert_array_equal(received["strided"], array[::2])


def test_a_large_array_is_mapped_and_not_copied(pair: Pair) -> None:
    received = crossed(np.zeros(LARGE_BYTES, np.uint8), pair)
    assert isinstance(received, np.ndarray)
    assert not received.flags.owndata
    assert not received.flags.writeable


def test_a_mapped_array_outlives_its_message_and_frees_its_descriptor(pair: Pair) -> None:
    before = open_files()
    received = crossed((np.arange(LARGE_BYTES), np.ones(LARGE_BYTES)), pair)
    assert isinstance(received, tuple)
    last = received[1]
    del received
    assert last.sum() == LARGE_BYTES
    del last
    assert open_files() == before


def test_many_messages_keep_their_order(pair: Pair) -> None:
    messages = [(number, bytes(number * 999)) for number in range(150)]

    def send_all() -> None:
        for message in messages:
            send(pair[0], message)

    sender = threading.Thread(target=send_all)
    sender.start()
    assert [receive(pair[1]) for _ in messages] == messages
    sender.join()


def test_a_closed_peer_is_an_end_of_file(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(EOFError):
        receive(pair[1])


def test_a_peer_that_dies_within_a_message_is_an_end_of_file(pair: Pair) -> None:
    pair[0].sendall(b"\x10\x00\x00\x00\x00half")
    pair[0].close()
    with pytest.raises(EOFError):
        receive(pair[1])


def test_a_message_that_cannot_be_packed_leaves_the_line_usable(pair: Pair) -> None:
    before = open_files()
    with pytest.raises(Unsendable):
        send(pair[0], (np.zeros(LARGE_BYTES), lambda: None))
    assert open_files() == before
    assert crossed("next", pair) == "next"
