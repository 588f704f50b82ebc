"""Large messages: which are not received, and whose calls end when too much arrives that nobody can read yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import pytest
import pytest_asyncio

from featsvc.errors import FeatsvcError
from featsvc.server.calls.admission import Admission, AdmissionLimits
from featsvc.server.calls.call import Call
from featsvc.work.caller import Caller
from tests.chaos.frames import Connection, message
from tests.server.asking import OTHER_KEY, arrived, asking, gate_at, opened, read_ahead, until_waiting
from tests.server.conftest import AUTHORISED, Running, start

MIB = 1024**2
LIMITS = AdmissionLimits(100, 100, 60.0, max_receiving_bytes=256 * MIB, max_request_bytes=64 * MIB)
FLOOD, OTHER = Caller("flood"), Caller("other")


class FakeMemory:
    """Memory of which 300 MiB are taken all the time; each look at it is counted."""

    def __init__(self) -> None:
        self.looks = asyncio.Semaphore(0)

    def grown_bytes(self) -> int:
        self.looks.release()
        return 300 * MIB

    def allocated_more(self) -> int:
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
        self._admission = Admission(LIMITS, lambda: 0, read_ahead())
        self._tasks: list[asyncio.Task[object]] = [asyncio.create_task(self._admission.watch())]

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


EXTRACT = "/featsvc.v1.ClipService/ExtractFeatures"
LARGE = asking(bytes(MIB))


def asked(served: Running, key: tuple[tuple[str, str], ...]) -> asyncio.Task[object]:
    """A large question that is in the queue, or about to be."""
    return asyncio.ensure_future(served.clip.ExtractFeatures(LARGE, metadata=key))


async def test_a_message_for_which_there_is_no_room_is_not_received(tmp_path: Path) -> None:
    gate = gate_at(tmp_path / "gate")
    async with start(max_queue_bytes=5 * MIB // 2, slots=1, max_batch=1) as served:
        blocking = asking(f"block {gate}".encode())
        work: list[asyncio.Future[object]] = [
            asyncio.ensure_future(served.clip.ExtractFeatures(blocking, metadata=AUTHORISED))
        ]
        await arrived(gate)
        work += [asked(served, AUTHORISED), asked(served, AUTHORISED)]
        await until_waiting(served, 2)
        async with Connection(served.gateway.port) as connection:
            stream = connection.call(EXTRACT, AUTHORISED)
            sent = await connection.send(stream, message(bytes(60 * MIB)))
            last = await connection.until_ended(stream)
        assert b"grpc-status\x018" in last
        assert b"(--max-queue-bytes)" in last
        # A stream's window grows with what its connection carries; of a message that is read, all would go.
        assert sent < 30 * MIB
        # Another, who has less, is received, and what is large no more is received too.
        work.append(asked(served, OTHER_KEY))
        given_way, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = given_way
        assert isinstance(refused.exception(), grpc.aio.AioRpcError)
        await opened(gate)
        await asyncio.wait(work)
    assert [each for each in work if each.exception()] == [refused]
