"""Whose calls end when too much arrives that nobody can read yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest
import pytest_asyncio

from featsvc.errors import FeatsvcError
from featsvc.server.calls.admission import Admission, AdmissionLimits
from featsvc.server.calls.call import Call
from featsvc.work.caller import Caller

MIB = 1024**2
LIMITS = AdmissionLimits(100, 100, 60.0, max_receiving_bytes=256 * MIB, max_request_bytes=64 * MIB)
FLOOD, OTHER = Caller("flood"), Caller("other")


class FakeMemory:
    """Memory of which 300 MiB are taken all the time; each look at it is counted."""

    def __init__(self) -> None:
        self.looks = asyncio.Semaphore(0)

    def grown_bytes(self) -> int:
        return 300 * MIB

    def allocated_more(self) -> int:
        self.looks.release()
        return 300 * MIB

    async def give_back(self) -> None:
        pass


@dataclass(eq=False)
class FakeCall:
    """A call whose message does not come."""

    caller: Caller
    peer: str = ""
    began: float = 0.0
    bytes_open: int = 0
    messages_in: int = 0
    is_ended: bool = False

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    def end(self, refusal: FeatsvcError) -> None:
        self.is_ended = True


class Crowd:
    """Calls that wait for their messages while memory is full."""

    def __init__(self, memory: FakeMemory) -> None:
        self._memory = memory
        self._admission = Admission(LIMITS, lambda: 0)
        self._tasks = [asyncio.create_task(self._admission.watch())]

    def come(self, caller: Caller) -> FakeCall:
        call = FakeCall(caller)
        # A real one needs a connection.
        self._tasks.append(asyncio.create_task(self._admission.message(cast(Call, call))))
        return call

    async def looked_at(self) -> None:
        """Waits until it was looked at often enough for calls to be no longer young."""
        for _ in range(4):
            await self._memory.looks.acquire()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@pytest_asyncio.fixture
async def crowd(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    memory = FakeMemory()
    monkeypatch.setattr("featsvc.server.calls.admission.Memory", lambda: memory)
    crowd = Crowd(memory)
    yield crowd
    await crowd.end()


async def test_a_call_that_cannot_have_sent_as_much_as_is_there_does_not_end(crowd: Crowd) -> None:
    others = [crowd.come(OTHER) for _ in range(2)]
    await crowd.looked_at()
    assert not any(call.is_ended for call in others)


async def test_of_those_who_may_have_the_caller_with_most_is_ended_first(crowd: Crowd) -> None:
    flood = [crowd.come(FLOOD) for _ in range(8)]
    other = crowd.come(OTHER)
    await crowd.looked_at()
    assert any(call.is_ended for call in flood)
    assert not other.is_ended
