"""What one address may have of the connections of gRPC."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress

import pytest

from featsvc.children import at_work
from featsvc.processes import connections_within_files
from featsvc.server.calls.connections import Connections
from featsvc.server.config import grpc_options
from tests.chaos.frames import ACK, GOAWAY, PING, PREFACE, SETTINGS, frame
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, Running, heard, start

MOST, PATIENCE_S = 8, 60
needs_both_kinds = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")


class Line:
    """A connection to the port of gRPC that has agreed on HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def frame(self) -> tuple[int, int, bytes]:
        """The next one: its kind, its flags and what is in it."""
        head = await asyncio.wait_for(self._reader.readexactly(9), PATIENCE_S)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], payload

    async def is_answered(self) -> bool:
        """Whether the server is there still."""
        self._writer.write(frame(PING, 0, 0, bytes(8)))
        while (await self.frame())[:2] != (PING, ACK):
            pass
        return True

    async def end(self) -> bytes:
        """The last words of the server, which has ended it."""
        said = b""
        try:
            while True:
                kind, _, payload = await self.frame()
                said = payload[8:] if kind == GOAWAY else said
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return said


@asynccontextmanager
async def line(served: Running, address: str = "127.0.0.2") -> AsyncIterator[Line]:
    port = served.gateway.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        found = Line(reader, writer)
        assert await found.is_answered()
        yield found
    finally:
        writer.close()


async def lines_of(
    stack: AsyncExitStack, served: Running, count: int, address: str = "127.0.0.2"
) -> list[Line]:
    return [await stack.enter_async_context(line(served, address)) for _ in range(count)]


async def test_the_newest_of_who_has_most_are_ended_where_there_is_hardly_a_place(served: Running) -> None:
    counted = Connections(served.gateway.port, MOST, is_encrypted=False)
    async with AsyncExitStack() as stack, heard("featsvc.server.connections") as logged:
        old = await lines_of(stack, served, 2)
        others = await lines_of(stack, served, 2, "127.0.0.3")
        assert counted.make_room() == 0
        new = await lines_of(stack, served, 5)
        assert counted.make_room() == 5
        said = b"--max-connections: only 2 are left to an address for now"
        assert [await each.end() for each in new] == [said] * 5
        for each in (*old, *others):
            assert await each.is_answered()
        told = await logged.get()
        words = {"ended": 5, "of_each_address": 2, "most": MOST, "peer": "127.0.0.2", "peers": 7}
        assert {name: told[name] for name in words} == words
        assert counted.make_room() == 0


async def test_only_connections_of_the_port_count(served: Running) -> None:
    async with start() as other, AsyncExitStack() as stack:
        await lines_of(stack, other, MOST)
        await lines_of(stack, served, 1)
        assert Connections(served.gateway.port, MOST, is_encrypted=False).make_room() == 0
        # Neither its listening socket nor those of the worker are among them.
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)


async def test_an_address_that_takes_all_places_leaves_some_to_others() -> None:
    async with start(max_connections=MOST) as served, AsyncExitStack() as stack:
        # All may be new at the same count: then it is not known which came last.
        ends = [asyncio.create_task(each.end()) for each in await lines_of(stack, served, MOST)]
        for each in itertools.islice(asyncio.as_completed(ends), MOST // 2):
            assert b"--max-connections: only 4 are left" in await each
        assert sum(each.done() for each in ends) == MOST // 2
        await served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED)


async def test_who_never_agrees_on_http2_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_options, "HANDSHAKE_MS", 200)
    async with start() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
        writer.write(PREFACE[:5])
        await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A port of both kinds of addresses, of this process and not of gRPC."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as found:
        yield found


def taken(listening: socket.socket, stack: ExitStack, address: str) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection: the caller's, and the server's."""
    port = listening.getsockname()[1]
    caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S, (address, 0)))
    return caller, stack.enter_context(listening.accept()[0])


def is_open(caller: socket.socket) -> bool:
    caller.setblocking(False)
    try:
        while caller.recv(1 << 20):
            pass
        return False
    except BlockingIOError:
        return True


@needs_both_kinds
def test_addresses_within_those_of_ipv6_are_told_apart(listening: socket.socket) -> None:
    with ExitStack() as stack:
        callers = [taken(listening, stack, f"127.0.0.{number}")[0] for number in (2, 2, 2, 2, 2, 2, 2, 3)]
        assert Connections(listening.getsockname()[1], MOST, is_encrypted=True).make_room() == 4
        assert (sum(map(is_open, callers[:-1])), is_open(callers[-1])) == (3, True)


@needs_both_kinds
def test_who_takes_nothing_any_more_is_ended_too(listening: socket.socket) -> None:
    with ExitStack() as stack:
        ends = [taken(listening, stack, "127.0.0.2") for _ in range(MOST)]
        for _, ours in ends:
            ours.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    ours.send(bytes(1 << 20))
        ended = Connections(listening.getsockname()[1], MOST, is_encrypted=False).make_room()
        assert ended == sum(not is_open(caller) for caller, _ in ends) >= MOST // 2


@needs_both_kinds
def test_a_number_that_is_another_files_by_now_is_left_alone(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        callers = [taken(listening, stack, "127.0.0.2")[0] for _ in range(MOST)]
        other, own = socket.socketpair()
        stack.callback(other.close)
        stack.callback(own.close)
        dup, copies = os.dup, list[int]()
        reading, writing = os.pipe()

        def of(number: int) -> int:
            copies.append(dup(number))
            return copies[-1]

        for number in (own.fileno(), writing):
            monkeypatch.setattr(os, "dup", lambda _, number=number: of(number))
            assert Connections(listening.getsockname()[1], MOST, is_encrypted=False).make_room() == 0
        os.close(writing)
        # No copy of the end to write to is left: there is nothing more to read.
        assert (os.read(reading, 1), len(copies)) == (b"", 2 * MOST // 2)
        os.close(reading)
        assert all(map(is_open, (*callers, other)))


@needs_both_kinds
async def test_counting_goes_on_after_it_has_failed(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, failed, again = os.listdir, asyncio.Event(), asyncio.Event()

    def listdir(folder: str) -> list[str]:
        (again if failed.is_set() else failed).set()
        if not again.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return found(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    counted = Connections(listening.getsockname()[1], MOST, is_encrypted=False)
    async with at_work(counted.watch()):
        await asyncio.wait_for(again.wait(), PATIENCE_S)


def test_connections_take_half_of_the_files_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, ports, within in ((256, 1, 128), (256, 4, 32), (4, 4, 1), (100_000, 1, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=limit: (hard, hard))
        assert connections_within_files(4096, ports) == within
    for soft, within in ((256, 128), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, resource.RLIM_INFINITY))
        assert connections_within_files(4096) == within
