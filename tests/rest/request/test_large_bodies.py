"""Bodies that come slowly, or never, and what a body may unpack to."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest

from rest_shim.request import reading
from rest_shim.request.reading import Arrival, BodyLimits
from tests.rest.fake_gateway import KEY_OF_OTHERS, FakeGateway, fake_gateway
from tests.rest.shim import PICTURE, Shim, shim
from tests.rest.wire import Wire, question, request, wire

pytestmark = pytest.mark.asyncio(loop_scope="session")
MIB = 1024 * 1024
ROOM_BYTES = 100 * MIB
LIMIT = "of this key, at most 100000 (--max-total-body-bytes): try again in 1 s"


def memory() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_that_never_comes_ends(framing: str) -> None:
    async with fake_gateway() as fake, shim(fake.target, body_timeout=0.3) as ports, wire(ports) as line:
        await line.send(request(None, framing))
        answered = await line.answer()
        assert answered.status == 408
        assert "--body-timeout" in str(answered.detail)
        assert fake.requests == []


async def test_a_drop_of_a_body_now_and_then_does_not_lengthen_its_time() -> None:
    async with fake_gateway() as fake, shim(fake.target, body_timeout=0.5) as ports, wire(ports) as line:
        await line.send(request(None, "Content-Length: 100000"))
        answering = asyncio.ensure_future(line.answer())
        while not answering.done():
            await line.send(b" ")
            await asyncio.wait((answering,), timeout=0.1)
        assert answering.result().status == 408


async def test_a_body_that_may_be_sent_has_place_when_it_is_alone() -> None:
    async with fake_gateway() as fake, shim(fake.target, max_total_body_bytes=1000) as ports:
        sent = await ports.raw("clip", "/extract", question() + b" " * 100_000)
        assert sent.status_code == 200


def held(nbytes: int, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when so many bytes of bodies are held."""
    full, real = asyncio.Event(), BodyLimits._make_room

    def make_room(limits: BodyLimits, whose: str, newcomer: Arrival | None = None) -> None:
        real(limits, whose, newcomer)
        if limits._held_bytes.total() == nbytes:
            full.set()

    monkeypatch.setattr(BodyLimits, "_make_room", make_room)
    return full


async def test_slow_bodies_give_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    full = held(4 * 24_000, monkeypatch)
    async with (
        fake_gateway() as fake,
        shim(fake.target, max_total_body_bytes=100_000, max_request_bytes=100_000) as ports,
        AsyncExitStack() as stack,
    ):
        slow = [await stack.enter_async_context(wire(ports)) for _ in range(4)]
        for each in slow:
            await each.send(request(None, "Content-Length: 30000") + b" " * 24_000)
        await full.wait()
        statuses = []
        # They hold the room while they may still come quickly, and as long as they do: or in a flood none would arrive.
        for slow_s, pace in ((math.inf, math.inf), (-1.0, 1), (-1.0, math.inf)):
            monkeypatch.setattr(reading, "SLOW_S", slow_s)
            monkeypatch.setattr(reading, "SLOW_BYTES_PER_S", pace)
            statuses.append((await ports.raw("clip", "/extract", question() + b" " * 30_000)).status_code)
        assert statuses == [429, 429, 200]
        # Two gave way; the others are as good as before.
        for each in slow:
            await each.send(b" " * 5_900 + question().ljust(100))
        answers = [await each.answer() for each in slow]
        assert sorted(each.status for each in answers) == [200, 200, 429, 429]
        assert all(each.headers["retry-after"] == "1" for each in answers if each.status == 429)
        assert all(LIMIT in str(each.detail) for each in answers if each.status == 429)


@asynccontextmanager
async def three_at_once(
    nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Shim, list[Wire]]]:
    """Ports with room for 100,000 bytes, and three bodies of a key, of so many bytes and 30,000 of them there."""
    full = held(3 * 30_000, monkeypatch)
    limits = {"max_total_body_bytes": 100_000, "max_request_bytes": 100_000}
    async with fake_gateway() as fake, shim(fake.target, **limits) as ports, AsyncExitStack() as stack:
        of_one = [await stack.enter_async_context(wire(ports)) for _ in range(3)]
        for each in of_one:
            await each.send(request(None, f"Content-Length: {nbytes}") + b" " * 30_000)
        await full.wait()
        yield ports, of_one


async def test_bodies_of_a_key_that_holds_more_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_at_once(40_000, monkeypatch) as (ports, of_one):
        # Its own next one finds no room, that of another key does.
        body = question() + b" " * 20_000
        refused = await ports.raw("clip", "/extract", body)
        assert refused.status_code == 429
        assert LIMIT in refused.json()["detail"]
        nbytes = 90_000 + len(body)
        assert f"have {nbytes} bytes, {nbytes} of them of this key" in refused.json()["detail"]
        sent = await ports.raw("clip", "/extract", body, Authorization=f"Bearer {KEY_OF_OTHERS}")
        assert sent.status_code == 200
        for each in of_one:
            await each.send(b" " * 9_900 + question().ljust(100))
        answers = [await each.answer() for each in of_one]
        assert sorted(each.status for each in answers) == [200, 200, 429]


async def test_of_many_large_bodies_of_a_key_the_first_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_at_once(50_000, monkeypatch) as (_, of_one):
        for each in of_one:  # there is room for the rest of one, or of two when one has gone
            await each.send(b" " * 19_900 + question().ljust(100))
        answers = [await each.answer() for each in of_one]
        assert [each.status for each in answers] == [200, 200, 429]


class Compared(Arrival):
    """Counts how often it is compared with another."""

    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return self is other

    __hash__ = object.__hash__


async def test_making_room_compares_no_body_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, now = BodyLimits(1, 0), asyncio.get_running_loop().time()
    async with AsyncExitStack() as stack:
        for number in range(20):
            patience = await stack.enter_async_context(asyncio.timeout(None))
            began = now if number % 2 else now - 2 * reading.SLOW_S
            limits._arrivals.append(Compared(f"key {number}", began, patience, 1))
            limits._held_bytes[f"key {number}"] = 1
        limits._max_total_bytes = 15
        limits._make_room("key 0")
        gone = [number for number, each in enumerate(limits._arrivals) if each.gave_way]
        for each in limits._arrivals:
            each.patience.reschedule(None)
    assert gone == [0, 2, 4, 6, 8], "the oldest of the slow ones"
    assert Compared.count == 0


async def test_numbers_where_texts_belong_are_counted_first(gateway: FakeGateway) -> None:
    async with shim(gateway.target, max_request_bytes=64 * MIB) as ports:
        before = memory()
        for count in (2_000_000, 8_000_000):
            body = b'{"text": [' + b"1," * count + b"1]}"
            answered = await ports.raw("clip", "/encode_text", body)
            assert answered.status_code == 422
            assert len(answered.content) < 1000
        assert memory() - before < 4 * ROOM_BYTES


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"ab",', b"0.5,"])
async def test_a_body_is_bounded_by_what_it_unpacks_to(gateway: FakeGateway, piece: bytes) -> None:
    async with shim(gateway.target, max_request_bytes=64 * MIB) as ports:
        body = b'{"text": [' + piece * (16 * MIB // len(piece)) + piece[:-1] + b"]}"
        before = memory()
        answered = await ports.raw("clip", "/encode_text", body)
        assert answered.status_code == 422
        assert "values" in answered.json()["detail"][0]["msg"]
        assert memory() - before < 2 * ROOM_BYTES


async def test_of_many_names_that_nobody_knows_the_first_are_told(ports: Shim, gateway: FakeGateway) -> None:
    body = {"image": PICTURE, **{f"name{number}": 1 for number in range(20_000)}}
    answered = await ports.post("clip", "/extract", body)
    assert answered.status_code == 422
    assert [each["loc"] for each in answered.json()["detail"]] == [
        ["body", f"name{number}"] for number in range(8)
    ]
    assert "more" in answered.json()["detail"][-1]["msg"]
