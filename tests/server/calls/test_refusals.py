"""Who asks again at once is told later that there is no place, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from featsvc.codec import shim_headers
from featsvc.errors import InvalidArgument, Overloaded
from featsvc.server.calls.call import Call
from featsvc.server.calls.refusals import BURST_S, LONGEST_S, Refusals
from featsvc.v1 import model_pb2
from featsvc.work.caller import NOBODY, Caller
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened
from tests.server.calls.test_floods import TEXT, Question
from tests.server.conftest import AUTHORISED, Running, start

ALICE, BOB = Caller("alice"), Caller("bob")
LATER = Overloaded.within("full", 100.0)


@dataclass(eq=False)
class FakeCall:
    """What refusals see of a call."""

    caller: Caller = ALICE
    deadline: float | None = None
    is_relayed: bool = False
    hold_s: float = 0.0


def call_of(**values: Any) -> Call:  # Any: of whatever kind its field is
    """A call with a key."""
    return cast(Call, FakeCall(**values))  # a real one needs a connection


class Clock:
    """The time by which refusals go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr("featsvc.server.calls.refusals.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def waits(act: Coroutine[object, object, object]) -> asyncio.Task[object]:
    """What waits by now, and the task of it."""
    task = asyncio.ensure_future(act)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def held_s(refusals: Refusals, refusal: Overloaded = LATER, **values: Any) -> float:
    """How long the shim is to hold a refusal back, which is as long as it would be held here."""
    call = call_of(is_relayed=True, **values)
    await refusals.of_call(call, refusal)
    return call.hold_s


async def test_those_of_a_second_are_told_at_once_and_further_ones_as_fast_as_may_be(clock: Clock) -> None:
    refusals = Refusals(per_s=4)
    assert [await held_s(refusals) for _ in range(4)] == [0.0] * 4
    assert [await held_s(refusals) for _ in range(3)] == [0.25, 0.5, 0.75]
    clock.now += 0.5
    assert await held_s(refusals) == 0.5
    assert await held_s(refusals, caller=BOB) == 0.0
    clock.now += 0.5 + BURST_S
    assert await held_s(refusals) == 0.0


async def test_none_waits_longer_than_it_may_nor_than_it_says_nor_beyond_its_deadline(clock: Clock) -> None:
    refusals = Refusals(per_s=1)
    assert [await held_s(refusals) for _ in range(10)][-1] == LONGEST_S
    assert await held_s(refusals, Overloaded("soon", 300)) == 0.3
    assert await held_s(refusals, deadline=clock.now + 3.0) == 1.5
    assert await held_s(refusals, deadline=clock.now - 1.0) == 0.0
    assert await held_s(refusals, caller=NOBODY) == 0.0
    call = call_of(is_relayed=True)
    await refusals.of_call(call, InvalidArgument("no picture"))
    assert call.hold_s == 0.0
    assert [await held_s(Refusals(per_s=0)) for _ in range(100)] == [0.0] * 100


async def test_what_is_told_later_says_how_long_is_still_to_wait(clock: Clock) -> None:
    refusals = Refusals(per_s=1)
    assert await refusals.of_call(call_of(), LATER) is LATER
    held = await waits(refusals.of_call(call_of(), LATER))
    clock.now += 30.0
    refusals.close()
    told = await held
    assert isinstance(told, Overloaded)
    assert (told.retry_after_ms, told.message) == (70_000, "full: try again in 70.0 s")
    assert await refusals.of_call(call_of(), LATER) is LATER, "nobody waits while the server shuts down"


async def test_so_many_wait_at_most_and_who_leaves_waits_no_longer(clock: Clock) -> None:
    refusals = Refusals(per_s=1, most=2)
    await refusals.of_call(call_of(), LATER)
    held = [await waits(refusals.of_call(call_of(), LATER)) for _ in range(2)]
    assert await refusals.of_call(call_of(), LATER) is LATER
    held[0].cancel()
    await asyncio.wait(held[:1])
    assert refusals.held == 1
    held.append(await waits(refusals.of_call(call_of(), LATER)))
    refusals.close()
    await asyncio.wait(held)


async def test_streams_take_turns_where_many_questions_are_refused(clock: Clock) -> None:
    refusals = Refusals(per_s=1)
    await refusals.turn(call_of())
    for _ in range(3):
        await held_s(refusals)
    await refusals.turn(call_of(caller=BOB))
    turns = [await waits(refusals.turn(call_of())) for _ in range(4)]
    turns[0].cancel()
    refusals.answered(call_of())
    await turns[1]
    assert not turns[2].done(), "one for each answer"
    refusals.close()
    await asyncio.gather(*turns[2:])


async def test_streams_that_come_back_while_a_turn_is_timed_have_no_more_turns(clock: Clock) -> None:
    refusals = Refusals(per_s=1)
    for _ in range(6):
        await held_s(refusals)
    for _ in range(4):
        turn = await waits(refusals.turn(call_of()))
        refusals.answered(call_of())
        await turn
    turns = [await waits(refusals.turn(call_of())) for _ in range(4)]
    for count in (1, 2):
        clock.now += 1.0
        await turns[count - 1]
        await asyncio.sleep(0)
        assert sum(each.done() for each in turns) == count
    refusals.close()
    await asyncio.gather(*turns)


@asynccontextmanager
async def full(tmp_path: Path, **settings: Any) -> AsyncIterator[Running]:
    """A server whose worker and queue are full until the end, and which tells one refusal in a second."""
    gate = gate_at(tmp_path / "gate")
    async with start(max_queue=1, slots=1, max_batch=1, max_refusals=1, **settings) as served:
        blocking = asking(f"block {gate}".encode())
        work = [asyncio.ensure_future(served.clip.ExtractFeatures(blocking, metadata=AUTHORISED))]
        await arrived(gate)
        work.append(asyncio.ensure_future(served.clip.EncodeText(TEXT, metadata=AUTHORISED)))
        while served.gateway.pool.status().queued_count < 1:
            await ask_another(served)
        try:
            yield served
        finally:
            await opened(gate)
            await asyncio.gather(*work)


async def ask_another(served: Running, count: int = 1) -> None:
    """So many small calls of another key, one after the other."""
    for _ in range(count):
        await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=OTHER_KEY)


async def test_who_says_that_it_is_a_shim_is_believed_over_the_own_socket_alone(tmp_path: Path) -> None:
    relayed = (*AUTHORISED, (shim_headers.ADDRESS, "192.0.2.7"))
    async with (
        full(tmp_path, own_address=f"unix:{tmp_path}/socket") as served,
        grpc.aio.insecure_channel(served.gateway.own_target) as own,
    ):
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await Running(served.gateway, own).clip.EncodeText(TEXT, metadata=relayed)
        assert shim_headers.HOLD in dict(refused.value.trailing_metadata())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.clip.EncodeText(TEXT, metadata=relayed)
        assert shim_headers.HOLD not in dict(refused.value.trailing_metadata())


async def test_a_hasty_caller_is_refused_less_often_than_another_is_answered(tmp_path: Path) -> None:
    refused = 0

    async def hasty(served: Running) -> None:
        nonlocal refused
        while True:
            with pytest.raises(grpc.aio.AioRpcError):
                await served.clip.EncodeText(TEXT, metadata=AUTHORISED)
            refused += 1

    async with full(tmp_path, max_calls=8) as served:
        flood = [asyncio.create_task(hasty(served)) for _ in range(8)]
        await ask_another(served, 300)
        # What is to be refused has no place among the open calls, of which its caller may have others.
        await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=AUTHORISED)
        for each in flood:
            each.cancel()
        await asyncio.wait(flood)
    assert 1 <= refused < 300


async def test_a_hasty_stream_is_read_less_often_than_another_is_answered(tmp_path: Path) -> None:
    refused = 0

    async def hasty(served: Running) -> None:
        nonlocal refused
        call = served.clip.ExtractFeaturesStream(metadata=AUTHORISED)

        async def write() -> None:
            for number in itertools.count():
                await call.write(Question(request_id=str(number), request=asking(b"say 1")))

        writing = asyncio.create_task(write())
        try:
            async for answer in call:
                assert answer.error.code == "RESOURCE_EXHAUSTED"
                refused += 1
        finally:
            writing.cancel()

    async with full(tmp_path) as served:
        flood = [asyncio.create_task(hasty(served)) for _ in range(4)]
        before = served.gateway.pool.status().total_requests
        await ask_another(served, 300)
        came = served.gateway.pool.status().total_requests - before
        for each in flood:
            each.cancel()
        await asyncio.wait(flood)
    assert 1 <= refused < 300
    assert came < 300
