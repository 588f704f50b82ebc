"""Which large messages wait unread at their senders, until workers have taken what came before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from featsvc.errors import Overloaded
from featsvc.server.calls.call import Call
from featsvc.server.calls.read_ahead import EXPECTED_S, ReadAhead
from featsvc.v1 import model_pb2
from featsvc.work.caller import Caller
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened, until_waiting
from tests.server.conftest import AUTHORISED, start

MIB = 1024**2
ALICE, BOB = Caller("alice"), Caller("bob")


@dataclass(eq=False)
class FakeCall:
    """What reading ahead sees of a call."""

    caller: Caller = ALICE
    deadline: float | None = None
    priority: int = 0


def call_of(caller: Caller = ALICE, deadline: float | None = None, priority: int = 0) -> Call:
    """A call with a key."""
    return cast(Call, FakeCall(caller, deadline, priority))  # a real one needs a connection


class Senders:
    """Calls that ask for their turn, and whose it is."""

    def __init__(self, check_room: Callable[[Caller, int], None] | None = None) -> None:
        self.ahead = ReadAhead(check_room, lambda: 48 * MIB)
        self.turns: list[Call] = []
        self.tasks: dict[Call, asyncio.Task[None]] = {}

    async def come(self, *calls: Call) -> None:
        """They ask, in this order."""
        for call in calls:
            self.tasks[call] = asyncio.create_task(self._ask(call))
        await asyncio.sleep(0)

    async def _ask(self, call: Call) -> None:
        await self.ahead.turn(call, 30 * MIB)
        self.turns.append(call)

    async def take(self, call: Call) -> None:
        """A worker takes what a call has asked, whose message is here."""
        self.ahead.received(call, 30 * MIB)
        self.ahead.let_go(call)
        await asyncio.sleep(0)


async def test_of_a_caller_no_more_is_received_than_workers_take_next_and_all_have_their_turn() -> None:
    senders, calls = Senders(), [call_of() for _ in range(4)]
    await senders.come(*calls)
    for number, call in enumerate(calls, 1):
        assert senders.turns == calls[:number]
        senders.ahead.received(call, 30 * MIB)
        await asyncio.sleep(0)
        assert senders.turns == calls[:number]
        await senders.take(call)


async def test_callers_do_not_wait_for_each_other() -> None:
    senders, calls = Senders(), [call_of(), call_of(BOB)]
    await senders.come(*calls)
    assert senders.turns == calls


async def test_the_most_urgent_comes_next() -> None:
    senders, first = Senders(), call_of()
    late, soon, important = call_of(), call_of(deadline=5.0), call_of(deadline=9.0, priority=1)
    await senders.come(first, late, soon, important)
    for call in (first, important, soon):
        await senders.take(call)
    assert senders.turns == [first, important, soon, late]


async def test_one_that_gives_up_before_its_turn_keeps_nobody_waiting() -> None:
    senders = Senders()
    first, second, third = calls = [call_of() for _ in range(3)]
    await senders.come(*calls)
    senders.tasks[second].cancel()
    await asyncio.wait([senders.tasks[second]])
    senders.ahead.let_go(second)
    assert list(senders.ahead.waiting()) == [third]
    await senders.take(first)
    assert senders.turns == [first, third]


async def test_one_that_stays_silent_keeps_the_others_waiting_for_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, timers = 1000.0, list[Callable[[], None]]()
    monkeypatch.setattr("featsvc.server.calls.read_ahead.time.monotonic", lambda: now)
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda _, act, *given: timers.append(lambda: act(*given))
    )
    senders, calls = Senders(), [call_of() for _ in range(3)]
    await senders.come(*calls)
    now += EXPECTED_S
    timers.pop()()
    await asyncio.sleep(0)
    assert senders.turns == calls[:2]


async def test_what_waits_unread_counts_where_room_is_judged() -> None:
    def check_room(caller: Caller, nbytes: int) -> None:
        if nbytes > 60 * MIB:
            raise Overloaded("no room")

    senders, calls = Senders(check_room), [call_of() for _ in range(3)]
    await senders.come(*calls)
    with pytest.raises(Overloaded):
        await senders.tasks[calls[2]]


async def test_a_message_waits_unread_while_those_before_it_wait_for_a_worker(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_batch_bytes=MIB, slots=1, max_batch=1) as served:

        async def asked(program: bytes) -> None:
            await served.clip.ExtractFeatures(asking(program), metadata=AUTHORISED)

        blocking = asyncio.create_task(asked(f"block {gate}".encode()))
        await arrived(gate)
        large = [asyncio.create_task(asked(bytes(MIB)))]
        await until_waiting(served, 1)
        large += [asyncio.create_task(asked(bytes(MIB))) for _ in range(2)]
        for _ in range(50):
            # Comes after the large ones: what of those is received at once is received by then.
            await served.model.GetCaller(model_pb2.GetCallerRequest(), metadata=OTHER_KEY)
        assert served.gateway.pool.status().queued_count == 1
        await opened(gate)
        await asyncio.gather(blocking, *large)
