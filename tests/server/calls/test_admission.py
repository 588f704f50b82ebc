"""Callers that send nothing, too much or too often, over a real socket, beside others that are served all the while."""

from __future__ import annotations

import asyncio
import gzip
import math
from contextlib import AsyncExitStack, suppress
from itertools import chain

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc.memory import allocated_bytes
from featsvc.server.calls import admission
from featsvc.server.calls.admission import TICK_S
from featsvc.server.calls.places import KEPT_S
from featsvc.v1 import clip_pb2
from tests.chaos.frames import PING, Connection, frame, message
from tests.server.asking import asking
from tests.server.conftest import AUTHORISED, Running, start

ENCODE = "/featsvc.v1.ClipService/EncodeText"
STREAM = "/featsvc.v1.ClipService/ExtractFeaturesStream"
STATUS = "/featsvc.v1.ModelService/GetStatus"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
WRONG = (("authorization", "Bearer wrong"),)
OTHER = (("authorization", "Bearer other-key"),)
LARGE = 40 * 1024 * 1024
PIECE = 4 * 1024 * 1024
TEXT = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a"]))


class Peak:
    """The most bytes that were allocated beyond those at the start, looked at by a task of its own."""

    def __init__(self) -> None:
        self._before = allocated_bytes()
        self.nbytes = 0
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.nbytes = max(self.nbytes, allocated_bytes() - self._before)
            await asyncio.sleep(0.01)

    def stop(self) -> int:
        self._task.cancel()
        return self.nbytes


async def _sent(port: int, method: str, key: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
    async with Connection(port) as connection:
        stream = connection.call(method, key)
        sent = await connection.send(stream, body)
        return sent, await connection.until_ended(stream)


async def _sent_slowly(port: int, method: str, key: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    """Sends a piece for each look of the server at its memory: no network is as fast as the loop that both share."""
    async with Connection(port) as connection:
        stream = connection.call(method, key)
        for start in range(0, len(body), PIECE):
            await connection.send(stream, body[start : start + PIECE])
            await asyncio.sleep(TICK_S)
        return await connection.until_ended(stream)


async def test_large_messages_with_a_wrong_key_are_never_received(served: Running) -> None:
    body = message(bytes(LARGE))
    ended = await asyncio.gather(*(_sent(served.gateway.port, ENCODE, WRONG, body) for _ in range(6)))
    assert all(b"API key missing or wrong" in last for _, last in ended), ended
    # What the server lets come, and not the memory of a process in which the senders are too.
    assert sum(sent for sent, _ in ended) < LARGE


@pytest.mark.parametrize(
    ("method", "key"), [(ENCODE, AUTHORISED), (STREAM, AUTHORISED), (CHECK, ()), (STATUS, ())]
)
async def test_messages_that_never_end_give_way_before_they_take_all_memory(
    method: str, key: tuple[tuple[str, str], ...]
) -> None:
    async with start(max_receiving_bytes=32 * 1024**2) as served:
        body, peak = message(bytes(LARGE), declared=2 * 1024**3), Peak()
        ended = await asyncio.gather(
            *(_sent_slowly(served.gateway.port, method, key, body) for _ in range(8))
        )
        assert all(b"grpc-status\x018" in last for last in ended)
        assert all(b"at most 67108864 (--max-receiving-bytes)" in last for last in ended)
        assert all((b"1/4 of that where a call has no key" in last) is not bool(key) for last in ended)
        assert peak.stop() < 6 * LARGE
        # Others are as before.
        await served.clip.EncodeText(TEXT, metadata=AUTHORISED)


async def test_calls_that_stay_silent_make_way_for_others() -> None:
    async with start(max_calls=64) as served, Connection(served.gateway.port) as hostile:
        silent = [hostile.call(ENCODE, AUTHORISED) for _ in range(60)]
        silent += [hostile.call(STREAM, AUTHORISED) for _ in range(30)]
        streaming = served.clip.ExtractFeaturesStream(metadata=OTHER)
        await streaming.write(
            clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="1", request=asking(b"say 1"))
        )
        assert (await streaming.read()).request_id == "1"
        for _ in range(100):
            await served.clip.EncodeText(TEXT, metadata=AUTHORISED)
        # The caller that has one open call keeps it, however long it waits.
        await streaming.write(
            clip_pb2.ClipServiceExtractFeaturesStreamRequest(request_id="2", request=asking(b"say 1"))
        )
        assert (await streaming.read()).request_id == "2"
        await hostile.until_ended(silent[0])
        assert b"grpc-status\x018" in hostile.ended[silent[0]]
        assert b"64 calls are open, at most 64 (--max-calls), 6" in hostile.ended[silent[0]]
        assert (
            b"of this key, and this one waited for its caller: try again in 1.0" in hostile.ended[silent[0]]
        )


async def test_a_call_whose_message_does_not_come_is_ended(served: Running) -> None:
    async with start(message_timeout=0.5) as hurried, Connection(hurried.gateway.port) as connection:
        stream = connection.call(ENCODE, AUTHORISED)
        connection.write(b"")
        assert b"no message came within 0.5 s" in await connection.until_ended(stream)


async def test_watchers_of_health_do_not_keep_others_from_asking() -> None:
    async with start(max_keyless_calls=16) as served, AsyncExitStack() as stack:
        for _ in range(8):
            hostile = await stack.enter_async_context(Connection(served.gateway.port))
            for _ in range(10):
                hostile.data(hostile.call(WATCH), message(b""))
            await hostile.drain()
        health = health_pb2_grpc.HealthStub(served.channel)
        for _ in range(20):
            await health.Check(health_pb2.HealthCheckRequest())


async def test_a_thousand_watchers_at_once_do_not_end_one_another_and_the_next_find_places_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start(max_keyless_calls=16) as served, AsyncExitStack() as stack:
        ending = []
        monkeypatch.setattr(
            admission, "KEPT_S", math.inf
        )  # they come at once, also on a machine that is slow
        for _ in range(8):
            hostile = await stack.enter_async_context(Connection(served.gateway.port))
            streams = [hostile.call(WATCH) for _ in range(10)]
            for stream in streams:
                hostile.data(stream, message(b""))
            ending.append([asyncio.create_task(hostile.until_ended(stream)) for stream in streams])
            for refused in ending[-1][4:]:
                assert b"(--max-keyless-calls): try again in 1.0 s" in await refused
        # A connection may have 4 of the 16 places; who has one keeps it.
        words = b"4 calls without a key are open over this connection, at most 1/4 of the 16 of all"
        assert words in await ending[0][4]
        assert b"16 calls without a key are open, at most 16" in await ending[4][0]
        for refused in chain(*ending[4:]):
            assert b"(--max-keyless-calls): try again in 1.0 s" in await refused
        keeping = list(chain(*(streams[:4] for streams in ending[:4])))
        assert not any(task.done() for task in keeping)
        monkeypatch.undo()
        health = health_pb2_grpc.HealthStub(served.channel)

        async def watch() -> health_pb2.HealthCheckResponse:
            while True:
                with suppress(grpc.aio.AioRpcError):
                    return await health.Watch(health_pb2.HealthCheckRequest()).read()

        assert (await asyncio.wait_for(watch(), 10 * KEPT_S)).status == health_pb2.HealthCheckResponse.SERVING
        for task in keeping:
            task.cancel()


async def test_calls_of_one_key_that_come_together_do_not_end_one_another() -> None:
    async with start(max_calls_per_key=1) as served, Connection(served.gateway.port) as connection:
        first, second = (connection.call(STREAM, AUTHORISED) for _ in range(2))
        refused = await connection.until_ended(second)
        assert b"open calls of this key: 1, at most 1 (max_calls_per_key)" in refused
        assert first not in connection.ended


async def test_a_connection_has_so_many_calls_and_no_more() -> None:
    async with start(max_calls_per_connection=8) as served, Connection(served.gateway.port) as connection:
        calls = [connection.call(STREAM, AUTHORISED) for _ in range(9)]
        await connection.until_ended(calls[-1])
        assert list(connection.ended) == calls[-1:]


async def test_packed_messages_are_refused_unread(served: Running) -> None:
    packed = gzip.compress(bytes(32 * 1024**2))
    peak = Peak()
    more = (*AUTHORISED, ("grpc-encoding", "gzip"))
    _, last = await _sent(served.gateway.port, ENCODE, more, message(packed, compressed=True))
    assert b"grpc-status" in last
    assert peak.stop() < 16 * 1024**2


async def test_pings_cost_nothing_and_end_nothing_however_many_there_are(served: Running) -> None:
    peak = Peak()
    async with Connection(served.gateway.port) as connection:
        stream = connection.call(STREAM, AUTHORISED)
        connection.write(frame(PING, 0, 0, bytes(8)) * 300_000)
        await connection.drain()
        # Answered behind all of them.
        await connection.until_ended(connection.call(ENCODE, WRONG))
        assert not connection.is_closed
        assert stream not in connection.ended
    assert peak.stop() < 64 * 1024**2
