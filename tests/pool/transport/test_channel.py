"""Messages cross a socket whole, large ones beside it in memory that is used again."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from featsvc.pool.transport.channel import Link
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.transport.frames import LARGE_BYTES
from featsvc.pool.transport.shared_memory import SMALLEST_BYTES, FreeList

KEPT_BYTES = 4 * SMALLEST_BYTES


def in_the_way(link: Link) -> threading.Lock:
    """What is posted while this is held goes out by the link's thread, after all that waits for that."""
    return link._sender._writer._lock


class Ends:
    """Both ends of a socket, in one process."""

    def __init__(self) -> None:
        sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.ours, self.theirs = (Link(each, KEPT_BYTES) for each in sockets)
        self.unsent: list[object] = []
        self.threads = [
            threading.Thread(target=link.send_all, args=(lambda message, error: self.unsent.append(message),))
            for link in (self.ours, self.theirs)
        ]
        for thread in self.threads:
            thread.start()

    def crossed(self, message: object) -> Any:
        """The message as it comes out at the other end."""
        self.ours.post(message)
        return self.theirs.receive()[0]

    def settle(self) -> None:
        """Wait until all is sent, and ours knows what theirs has given back."""
        assert self.crossed("sent") == "sent"
        with in_the_way(self.theirs):
            self.theirs.post("settled")
        assert self.ours.receive() == ["settled"]

    def segments(self) -> tuple[int, int]:
        """How many segments ours has lent, and how many it may use again."""
        self.settle()
        return len(self.ours._free._lent), len(self.ours._free._free)

    def close(self) -> None:
        """End both."""
        for link in (self.ours, self.theirs):
            link.end()
        for thread in self.threads:
            thread.join()
        for link in (self.ours, self.theirs):
            link.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("nbytes", [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 5_000_003])
def test_bytes_of_any_size_arrive_as_they_were(nbytes: int, ends: Ends) -> None:
    content = np.random.default_rng(nbytes).bytes(nbytes)
    assert ends.crossed(("name", content)) == ("name", content)


@pytest.mark.parametrize("shape", [(0,), (3, 5), (129, 257, 3), (64 * 1024 // 8,)])
def test_arrays_of_any_shape_arrive_as_they_were(shape: tuple[int, ...], ends: Ends) -> None:
    array = np.random.default_rng(0).random(shape)
    received = ends.crossed({"array": array, "transposed": array.T, "strided": array[::2]})
    np.testing.assert_array_equal(received["array"], array)
    np.testing.assert_array_equal(received["transposed"], array.T)
    np.testing.assert_array_equal(received["strided"], array[::2])


def test_a_large_array_is_mapped_and_not_copied(ends: Ends) -> None:
    received = ends.crossed(np.zeros(LARGE_BYTES, np.uint8))
    assert not received.flags.owndata
    assert not received.flags.writeable


def test_what_a_message_refers_to_stays_as_it_is_while_others_come(ends: Ends) -> None:
    first = ends.crossed((np.full(LARGE_BYTES, 1), np.full(LARGE_BYTES, 2)))[1]
    second = ends.crossed(np.full(LARGE_BYTES, 3))
    assert ends.segments() == (2, 0)
    assert set(first) == {2}
    assert set(second) == {3}


def test_memory_of_a_message_is_used_again_when_nothing_refers_to_it(ends: Ends) -> None:
    for value in range(5):
        received = ends.crossed(np.full(LARGE_BYTES, value))
        assert set(received) == {value}
        assert ends.segments() == (1, 0)
        before = open_files()
        del received
        assert ends.segments() == (0, 1)
        assert open_files() == before


def test_a_message_takes_the_smallest_free_memory_that_holds_it(ends: Ends) -> None:
    sizes = (SMALLEST_BYTES // 2, SMALLEST_BYTES * 3 // 2)
    held = [ends.crossed(np.zeros(size, np.uint8)) for size in sizes]
    held.clear()
    assert ends.segments() == (0, 2)
    small = ends.crossed(np.zeros(sizes[0], np.uint8))
    ends.settle()
    assert [len(segment.mapping) for segment in ends.ours._free._free] == [2 * SMALLEST_BYTES]
    del small


def test_no_more_memory_is_kept_than_the_limit_says(ends: Ends) -> None:
    before = open_files()
    held = [ends.crossed(np.zeros(SMALLEST_BYTES // 2, np.uint8)) for _ in range(6)]
    assert ends.segments() == (6, 0)
    held.clear()
    assert ends.segments() == (0, 4)
    assert len(ends.theirs._borrowed._mappings) == 4
    assert open_files() - before == 2 * 4
    large = ends.crossed(np.zeros(5 * SMALLEST_BYTES, np.uint8))
    del large
    assert ends.segments() == (0, 4)


def test_many_messages_keep_their_order(ends: Ends) -> None:
    messages = [(number, bytes(number * 999)) for number in range(150)]
    for message in messages:
        ends.ours.post(message)
    received: list[object] = []
    while len(received) < len(messages):
        received += ends.theirs.receive()
    assert received == messages


def test_small_answers_overtake_large_ones_whose_copies_take_time(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = Link(sockets[0], KEPT_BYTES, large_last=True), Link(sockets[1], KEPT_BYTES)
    large = [np.full(LARGE_BYTES, number, np.uint8) for number in range(3)]
    for message in ("first", large[0], "second", large[1], large[2], "third"):
        ours.post(message)
    ours.end()
    ours.send_all(lambda message, error: None)
    came: list[Any] = []
    while len(came) < 6:
        came += theirs.receive()
    assert came[:3] == ["first", "second", "third"]
    for got, sent in zip(came[3:], large, strict=True):
        np.testing.assert_array_equal(got, sent)
    del got, came[:]
    ours.close()
    theirs.close()


def test_small_messages_that_wait_come_together(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = (Link(each, KEPT_BYTES) for each in sockets)
    for number in range(50):
        ours.post(number)
    ours.end()
    ours.send_all(lambda message, error: None)
    assert theirs.receive() == list(range(50))


def test_a_closed_peer_is_an_end_of_file(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[0].close()
    with pytest.raises(EOFError):
        Link(sockets[1], KEPT_BYTES).receive()


def test_a_peer_that_dies_within_a_message_is_an_end_of_file(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    sockets[0].sendall(b"\x10\x00\x00\x00\x00half")
    sockets[0].close()
    with pytest.raises(EOFError):
        Link(sockets[1], KEPT_BYTES).receive()


def test_a_message_that_cannot_be_packed_leaves_the_line_usable(ends: Ends) -> None:
    before = open_files()
    bad = (np.zeros(LARGE_BYTES), lambda: None)
    ends.ours.post(bad)
    assert ends.crossed("next") == "next"
    assert ends.unsent == [bad]
    assert open_files() == before


def test_a_small_message_is_sent_by_who_posts_it(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = (Link(each, KEPT_BYTES) for each in sockets)
    ours.post("nobody but this thread is there")
    assert theirs.receive() == ["nobody but this thread is there"]


def test_what_a_full_socket_does_not_take_comes_whole_and_in_order(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = (Link(each, KEPT_BYTES) for each in sockets)
    messages = [bytes([number]) * (LARGE_BYTES - 100) for number in range(64)]
    for message in messages:
        ours.post(message)
    assert ours._sender._writer.has_rest
    ours.end()
    sending = threading.Thread(target=ours.send_all, args=(lambda message, error: None,))
    sending.start()
    received: list[object] = []
    while len(received) < len(messages):
        received += theirs.receive()
    sending.join()
    assert received == messages


def test_messages_of_many_threads_come_whole(ends: Ends) -> None:
    def post(name: int) -> None:
        for number in range(100):
            ends.ours.post((name, number, np.full(LARGE_BYTES * (number % 10 == 0), number, np.uint8)))

    threads = [threading.Thread(target=post, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    came: dict[int, list[int]] = {name: [] for name in range(4)}
    while sum(map(len, came.values())) < 400:
        for name, number, content in ends.theirs.receive():
            assert set(content) <= {number}
            came[name].append(number)
    for thread in threads:
        thread.join()
    assert all(numbers == list(range(100)) for numbers in came.values())


@pytest.mark.parametrize("nbytes", [1, SMALLEST_BYTES, SMALLEST_BYTES + 1, (64 << 20) + 1000])
def test_memory_of_a_message_is_an_eighth_larger_at_most(nbytes: int) -> None:
    segment = FreeList(Reserve(0)).take(nbytes)
    assert nbytes <= segment.nbytes <= nbytes + max(SMALLEST_BYTES, nbytes // 8)
    segment.close_file()


def test_what_takes_long_to_pack_is_packed_by_the_thread_and_keeps_its_place(ends: Ends) -> None:
    packing: list[int] = []

    class Slow:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            packing.append(threading.get_ident())
            return (str, ("slow",))

    ends.ours.post_later(Slow())
    ends.ours.post("next")
    came: list[Any] = []
    while len(came) < 2:
        came += ends.theirs.receive()
    assert came == ["slow", "next"]
    assert packing == [ends.threads[0].ident]
