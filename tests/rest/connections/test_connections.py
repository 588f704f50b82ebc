"""What one caller's connections may hold, and how long they may take."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import psutil
import pytest
from google.protobuf.message import Message

from tests.rest.fake_gateway import FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim
from tests.rest.wire import Wire, chunked, get, question, request, wire

pytestmark = pytest.mark.asyncio(loop_scope="session")
MIB = 1024 * 1024
# The gateway, the shim and the callers are all this process: what they may hold for some moments.
ROOM_BYTES = 100 * MIB


def memory() -> int:
    return psutil.Process().memory_info().rss


async def sent_until_refused(line: Wire, piece: bytes, most_bytes: int) -> int:
    """How many bytes the other side took before it closed."""
    taken = 0
    try:
        while taken < most_bytes:
            await line.send(piece)
            taken += len(piece)
    except (ConnectionError, TimeoutError):
        pass
    return taken


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET /health HTTP/1.1\r\nX-A: ", 431),
        (b"GET /", 431),
        (b"G", 400),
        (request(None, CHUNKED) + b"0\r\nX-A: ", 400),
        (request(None, CHUNKED) + b"1;", 400),
    ],
    ids=["header", "target", "method", "trailer", "chunk extension"],
)
async def test_a_line_without_end_is_refused_when_it_is_too_long(
    ports: Shim, gateway: FakeGateway, start: bytes, status: int
) -> None:
    before = memory()
    async with wire(ports) as line:
        await line.send(start, b"a" * 100_000)
        assert (await line.answer()).status == status
        assert await sent_until_refused(line, b"a" * 16384, 100 * MIB) < 100 * MIB
    assert memory() - before < ROOM_BYTES


@pytest.mark.parametrize("start", [b"0\r\nX-A: ", b"1;"], ids=["trailer", "chunk extension"])
async def test_a_line_without_end_behind_an_answer_is_thrown_away_up_to_a_bound(
    ports: Shim, gateway: FakeGateway, start: bytes
) -> None:
    async with wire(ports) as line:
        await line.send(request(None, CHUNKED, key=None) + start)
        # Before the line is sent: what is too long and there already is refused as such.
        assert (await line.answer()).status == 401
        assert await sent_until_refused(line, b"a" * 16384, 100 * MIB) < 100 * MIB


@pytest.mark.parametrize(
    ("start", "line_of_head"),
    [
        (b"GET /health HTTP/1.1\r\n", b"X-%06d: a\r\n"),
        (b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-%06d: a\r\n"),
        (b"", b"\r\n"),
    ],
    ids=["headers", "trailers", "empty lines"],
)
async def test_lines_without_end_are_refused_when_they_are_too_many(
    ports: Shim, gateway: FakeGateway, start: bytes, line_of_head: bytes
) -> None:
    before = memory()
    many = b"".join(line_of_head % number if b"%" in line_of_head else line_of_head for number in range(2000))
    async with wire(ports) as line:
        await line.send(start)
        assert await sent_until_refused(line, many, 100 * MIB) < 100 * MIB
    assert memory() - before < ROOM_BYTES
    assert (await ports.client.get(ports.url("clip", "/health"))).status_code == 200


@pytest.mark.parametrize("size", [60_000, 70_000])
async def test_headers_are_bounded_exactly(ports: Shim, gateway: FakeGateway, size: int) -> None:
    async with wire(ports) as line:
        await line.send(get("/health", f"X-A: {'a' * size}"))
        answered = await line.answer()
        assert answered.status == (200 if size < 65536 else 431)
        if answered.status == 431:
            assert "--max-header-bytes" in str(answered.detail)


async def test_a_million_requests_in_a_row_wait_in_their_callers_buffers(
    ports: Shim, gateway: FakeGateway
) -> None:
    before = memory()
    async with wire(ports) as line:
        # Nobody reads the answers.
        many = get("/docs") * 600_000
        line.writer.write(many)
        for _ in range(5):
            assert (await ports.post("clip", "/extract", {"image": PICTURE})).status_code == 200
        # What the caller's own transport holds is its own.
        assert memory() - before < len(many) + ROOM_BYTES
        assert line.writer.transport.get_write_buffer_size() > 0


async def test_a_caller_that_sends_no_head_is_told_so_and_one_that_is_silent_is_closed() -> None:
    async with (
        fake_gateway() as fake,
        shim(fake.target, header_timeout=0.3) as ports,
        wire(ports) as slow,
        wire(ports) as silent,
    ):
        # Behind a request, because a head is late only where it has begun to come in time.
        await slow.send(get() + b"GET /health HTTP/1.1\r\nX-A: ")
        assert (await slow.answer()).status == 200
        answered = await slow.answer()
        assert answered.status == 408
        assert await slow.end() == b""
        assert await silent.end() == b""


async def test_a_head_that_waits_behind_a_long_request_does_not_take_its_answer() -> None:
    async with fake_gateway() as fake, shim(fake.target, header_timeout=1.0) as ports, wire(ports) as line:
        opened = asyncio.Event()

        async def waiting(asked: Message, context: grpc.aio.ServicerContext) -> Message:
            await opened.wait()
            return fake.replies["ClipService/ExtractFeatures"]

        fake.answers["ClipService/ExtractFeatures"] = waiting
        await line.send(
            request(None, "Transfer-Encoding: chunked") + chunked(question()) + b"GET /health HTTP/1.1\r\n"
        )
        async with wire(ports) as silent:
            # What has waited for longer than a head may take is swept away, and this one came later.
            assert await silent.end() == b""
        opened.set()
        assert (await line.answer()).status == 200


async def test_a_drop_of_a_head_now_and_then_does_not_lengthen_its_time() -> None:
    async with fake_gateway() as fake, shim(fake.target, header_timeout=0.5) as ports, wire(ports) as line:
        await line.send(get() + b"GET /health HTTP/1.1\r\n")
        assert (await line.answer()).status == 200
        answering = asyncio.ensure_future(line.answer())
        while not answering.done():
            await line.send(b"X-A: a\r\n")
            await asyncio.wait((answering,), timeout=0.1)
        assert answering.result().status == 408


async def test_idle_connections_are_kept_for_their_time() -> None:
    async with fake_gateway() as fake:
        async with shim(fake.target, keep_alive=0.3) as ports, wire(ports) as line:
            await line.send(get())
            assert (await line.answer()).status == 200
            assert await line.end() == b""
        async with shim(fake.target, header_timeout=1.0) as ports, wire(ports) as line:
            await line.send(get())
            assert (await line.answer()).status == 200
            with pytest.raises(TimeoutError):
                # The sweep that would close it comes once a second.
                await asyncio.wait_for(line.reader.read(1), 2.5)
            await line.send(get())
            assert (await line.answer()).status == 200


async def test_a_wrong_key_is_answered_without_its_body_and_that_is_thrown_away(
    ports: Shim, gateway: FakeGateway
) -> None:
    before = memory()
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(wire(ports)) for _ in range(6)]
        for each in lines:
            await each.send(request(None, f"Content-Length: {60 * MIB}", key="wrong") + b"{")
            assert (await each.answer()).status == 401
        # Read up to a bound, for clients that look at the answer only when they have sent everything.
        taken = [await sent_until_refused(each, bytes(MIB), 60 * MIB) for each in lines]
        assert all(each < 60 * MIB for each in taken)
    assert memory() - before < 60 * MIB


async def test_a_caller_that_first_sends_all_of_its_body_still_reads_its_401(
    ports: Shim, gateway: FakeGateway
) -> None:
    async with wire(ports) as line:
        await line.send(request(b" " * 900_000, key="wrong"))
        assert (await line.answer()).status == 401
        await line.send(request(question()))
        assert (await line.answer()).status == 200
        await line.send(request(b" " * 900_000, "Connection: close", key="wrong"))
        assert (await line.answer()).status == 401
        assert await line.end() == b""


async def test_a_caller_that_asks_before_it_sends_is_told_to_or_refused(
    ports: Shim, gateway: FakeGateway
) -> None:
    body = question()
    async with wire(ports) as line:
        await line.send(request(None, f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert (await line.answer()).status == 100
        await line.send(body)
        assert (await line.answer()).status == 200
        await line.send(request(None, f"Content-Length: {len(body)}", "Expect: 100-continue", key="wrong"))
        answered = await line.answer()
        assert answered.status == 401
        # Nobody knows whether the body comes now or another request.
        assert answered.headers["connection"] == "close"
        assert await line.end() == b""


async def test_one_callers_idle_connections_make_room_for_its_next() -> None:
    async with (
        fake_gateway() as fake,
        shim(fake.target, rest_connections=20) as ports,
        AsyncExitStack() as stack,
    ):
        lines = [await stack.enter_async_context(wire(ports)) for _ in range(10)]
        for each in lines:
            await each.send(get())
            assert (await each.answer()).status == 200
        # The eleventh takes the place of the one that has been idle for longest.
        another = await stack.enter_async_context(wire(ports))
        await another.send(get())
        assert (await another.answer()).status == 200
        assert await lines[0].end() == b""
        await lines[1].send(get())
        assert (await lines[1].answer()).status == 200


async def test_more_connections_than_there_may_be_are_told_so_where_all_are_at_work() -> None:
    async with (
        fake_gateway() as fake,
        shim(fake.target, rest_connections=4) as ports,
        AsyncExitStack() as stack,
    ):
        both = asyncio.Event()

        async def waiting(asked: Message, context: grpc.aio.ServicerContext) -> Message:
            if len(fake.requests) == 2:
                both.set()
            await asyncio.Event().wait()
            raise AssertionError

        fake.answers["ClipService/ExtractFeatures"] = waiting
        lines = [await stack.enter_async_context(wire(ports)) for _ in range(2)]
        for each in lines:
            await each.send(request(question()))
        await asyncio.wait_for(both.wait(), 60)
        another = await stack.enter_async_context(wire(ports))
        answered = await another.answer()
        assert answered.status == 503
        assert "at most 4 (--rest-connections), 2 of them from this address, at most 2" in str(
            answered.detail
        )
        assert answered.headers["retry-after"] == "1"
