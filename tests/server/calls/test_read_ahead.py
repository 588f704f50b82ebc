"""Which large messages wait unread at their senders, until workers have taken what came before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from featsvc.errors import DeadlineExceeded, Overloaded
from featsvc.server.calls.call import Call
from featsvc.server.calls.deadlines import Deadlines
from featsvc.server.calls.message_sizes import Expected
from featsvc.server.calls.read_ahead import EXPECTED_S, PACE_S, ReadAhead
from featsvc.v1 import model_pb2
from featsvc.work.caller import Caller
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened, read_ahead, until_waiting
from tests.server.conftest import AUTHORISED, start

MIB = 1024**2
ALICE, BOB = Caller("alice"), Caller("bob")
PICTURE = Expected(30 * MIB)


@dataclass(eq=False)
class FakeCall:
    """What reading ahead sees of a call."""

    caller: Caller = ALICE
    deadline: float | None = None
    priority: int = 0
    unread_s: float = 0.0


def call_of(caller: Caller = ALICE, deadline: float | None = None, priority: int = 0) -> Call:
    """A call with a key; its deadline is so many seconds away."""
    deadline = None if deadline is None else time.monotonic() + deadline
    return cast(Call, FakeCall(caller, deadline, priority))  # a real one needs a connection


class Senders:
    """Calls that ask for their turn, and whose it is."""

    def __init__(self, ahead: ReadAhead | None = None, expected: Expected = PICTURE) -> None:
        self.ahead = ahead or read_ahead()
        self.expected = expected
        self.turns: list[Call] = []
        self.tasks: dict[Call, asyncio.Task[None]] = {}

    async def come(self, *calls: Call) -> None:
        """They ask, in this order."""
        for call in calls:
            self.tasks[call] = asyncio.create_task(self._ask(call))
        await asyncio.sleep(0)

    async def _ask(self, call: Call) -> None:
        await self.ahead.turn(call, self.expected)
        self.turns.append(call)

    async def take(self, call: Call) -> None:
        """A worker takes what a call has asked, whose message is here."""
        self.ahead.received(call, 30 * MIB)
        self.ahead.let_go(call)
        await asyncio.sleep(0)


async def test_of_a_caller_no_more_is_received_than_workers_take_next_and_all_have_their_turn() -> None:
    senders, calls = Senders(), [call_of() for _ in range(6)]
    await senders.come(*calls)
    for number in (2, 4, 6):
        assert senders.turns == calls[:number], (
            "one that comes beside the first, for nothing waits for a worker"
        )
        for call in calls[number - 2 : number]:
            senders.ahead.received(call, 30 * MIB)
            await asyncio.sleep(0)
            assert senders.turns == calls[:number]
        for call in calls[number - 2 : number]:
            assert senders.turns == calls[:number]
            await senders.take(call)


async def test_callers_do_not_wait_for_each_other() -> None:
    senders, calls = Senders(), [call_of(), call_of(BOB)]
    await senders.come(*calls)
    assert senders.turns == calls


async def test_the_most_urgent_comes_next() -> None:
    senders, first, second = Senders(), call_of(), call_of()
    # Without a deadline it has 60 s.
    later, late, soon = call_of(deadline=70.0), call_of(), call_of(deadline=50.0)
    important = call_of(deadline=90.0, priority=1)
    await senders.come(first, second, later, late, soon, important)
    for call in (first, second, important, soon, late):
        await senders.take(call)
    assert senders.turns == [first, second, important, soon, late, later]


async def test_one_that_gives_up_before_its_turn_keeps_nobody_waiting() -> None:
    senders = Senders()
    first, second, third, fourth = calls = [call_of() for _ in range(4)]
    await senders.come(*calls)
    senders.tasks[third].cancel()
    await asyncio.wait([senders.tasks[third]])
    senders.ahead.let_go(third)
    assert list(senders.ahead.waiting()) == [fourth]
    assert senders.ahead.waiting_count == 1
    await senders.take(first)
    assert senders.turns == [first, second, fourth]


async def test_one_whose_time_is_over_before_its_turn_is_told_so() -> None:
    impatient = read_ahead(deadlines=Deadlines(request_timeout_s=0.0, max_request_timeout_s=0.0))
    for deadline, words in ((None, "--request-timeout"), (50.0, "--max-request-timeout")):
        senders, calls = Senders(impatient), [call_of(), call_of(), call_of(deadline=deadline)]
        await senders.come(*calls)
        with pytest.raises(DeadlineExceeded, match=words):
            await senders.tasks[calls[2]]
        for call in calls:
            impatient.let_go(call)
    senders, calls = Senders(), [call_of(), call_of(), call_of(deadline=0.0)]
    await senders.come(*calls)
    with pytest.raises(DeadlineExceeded, match="the deadline passed"):
        await senders.tasks[calls[2]]


async def test_calls_of_a_key_that_has_another_name_by_then_have_their_turns() -> None:
    senders, calls = Senders(), [call_of() for _ in range(4)]
    await senders.come(*calls)
    senders.ahead.received(calls[0], 30 * MIB)
    for call in calls:
        call.caller = BOB
    await senders.take(calls[0])
    await senders.take(calls[1])
    assert senders.turns == calls
    for call in calls:
        senders.ahead.let_go(call)
    # Nothing of them counts for who has the name next.
    new = [call_of(), call_of(), call_of()]
    await senders.come(*new)
    assert senders.turns == calls + new[:2]


async def test_one_that_is_smaller_than_expected_leaves_room_when_it_is_here() -> None:
    senders, calls = Senders(), [call_of() for _ in range(3)]
    await senders.come(*calls)
    for call in calls[:2]:
        senders.ahead.received(call, MIB)
    await asyncio.sleep(0)
    assert senders.turns == calls


class Clock:
    """A clock that stands still, and what is timed by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.timers = 1000.0, list[Callable[[], None]]()
        monkeypatch.setattr("featsvc.server.calls.read_ahead.time.monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, _: float, act: Callable[..., None], *given: object) -> object:
        self.timers.append(lambda: act(*given))
        return self

    async def goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.timers.pop()()
        await asyncio.sleep(0)


async def test_one_that_stays_silent_keeps_the_others_waiting_for_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, senders, calls = Clock(monkeypatch), Senders(), [call_of() for _ in range(3)]
    await senders.come(*calls)
    await clock.goes_on(EXPECTED_S / 2)
    assert senders.turns == calls[:2]
    await clock.goes_on(EXPECTED_S / 2)
    assert senders.turns == calls


async def test_what_may_be_small_is_received_without_room_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, senders, pictures = Clock(monkeypatch), Senders(), [call_of() for _ in range(3)]
    await senders.come(*pictures)
    for picture in pictures[:2]:
        senders.ahead.received(picture, 30 * MIB)
    clicks, senders.expected = [call_of(), call_of()], Expected(30 * MIB, may_be_small=True)
    await senders.come(*clicks)
    assert senders.turns == [*pictures[:2], clicks[0]]
    senders.ahead.let_go(clicks[0])
    await clock.goes_on(PACE_S)
    assert senders.turns == [*pictures[:2], *clicks]
    assert list(senders.ahead.waiting()) == pictures[2:]


async def test_what_waits_unread_counts_where_room_is_judged() -> None:
    def check_room(caller: Caller, nbytes: int, announced: int) -> None:
        if (nbytes, announced) == (90 * MIB, 2):
            raise Overloaded("no room")

    senders, calls = Senders(read_ahead(check_room)), [call_of() for _ in range(3)]
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


async def test_of_more_than_may_wait_those_that_wait_unread_are_refused_at_once(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_batch_bytes=MIB, slots=1, max_batch=1, max_queue=3) as served:

        def asked(program: bytes) -> asyncio.Future[object]:
            call: asyncio.Future[object] = asyncio.ensure_future(
                served.clip.ExtractFeatures(asking(program), metadata=AUTHORISED)
            )
            return call

        admitted = [asked(f"block {gate}".encode())]
        await arrived(gate)
        admitted.append(asked(bytes(MIB)))
        await until_waiting(served, 1)
        others = {asked(bytes(MIB)) for _ in range(4)}
        refused = set[asyncio.Future[object]]()
        while len(refused) < 2:
            done, others = await asyncio.wait(others, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert done, "none is refused"
            refused |= done
        await opened(gate)
        await asyncio.gather(*admitted, *others)
    for each in refused:
        assert "(--max-queue)" in str(each.exception())
